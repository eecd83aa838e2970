# SPDX-License-Identifier: Apache-2.0
"""Decide which NVIDIA kernel modules and which driver branches suit the GPUs of a host; pure.

Sources: [modules] "Kernel Modules" in NVIDIA's driver installation guide: the proprietary modules are
required for Maxwell, Pascal and Volta, the open ones are for Turing and newer, exist since 515 and are the
default since 560. [transition] "NVIDIA Transitions Fully Towards Open-Source GPU Kernel Modules" in
NVIDIA's developer blog: Grace Hopper and Blackwell need the open ones. [schedule] NVIDIA's "Unix graphics
feature deprecation schedule": 580 is the last branch for Maxwell, Pascal and Volta, 470 for Kepler.
[operator] release notes of NVIDIA's GPU operator: HGX B200 needs 570. [guide] section "Proprietary Kernel
Modules Removed" of the driver installation guide for 620: 610 is the last branch that has them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .architecture import (
    ADA,
    AMPERE,
    BLACKWELL,
    GRACE_HOPPER,
    HOPPER,
    MAXWELL,
    NEWER,
    PASCAL,
    TURING,
    UNKNOWN,
    VOLTA,
)
from .pci import own_gpus

AUTO, OPEN, PROPRIETARY = "auto", "open", "proprietary"
OPEN_SINCE, OPEN_PREFERRED_SINCE = 515, 560
LAST_OF_OLD, FIRST_OF_BLACKWELL = 580, 570
OPEN_ALONE_SINCE = 615
TAKE_OUT = "remove {} from the host, or bind it to vfio-pci for a virtual machine"


@dataclass(frozen=True)
class Need:
    """Which modules an architecture can use, and between which branches."""

    modules: tuple[str, ...]
    oldest: int | None = None
    newest: int | None = None


OLD = Need((PROPRIETARY,), newest=LAST_OF_OLD)  # [modules, schedule]
EITHER = Need((OPEN, PROPRIETARY))  # [modules]
NEEDS = {
    MAXWELL: OLD,
    PASCAL: OLD,
    VOLTA: OLD,
    TURING: EITHER,
    AMPERE: EITHER,
    ADA: EITHER,
    HOPPER: EITHER,
    GRACE_HOPPER: Need((OPEN,), oldest=OPEN_SINCE),  # [transition]
    BLACKWELL: Need((OPEN,), oldest=FIRST_OF_BLACKWELL),  # [transition, operator]
    # Nothing since Blackwell went back to the proprietary modules, so what is newer than this table will not.
    NEWER: Need((OPEN,), oldest=FIRST_OF_BLACKWELL),
    # Only a person can know what an unknown GPU is, so it gets what is requested.
    UNKNOWN: EITHER,
}


@dataclass(frozen=True)
class Choice:
    """Hold the modules to install and the branches that suit, or why there are none and what to do."""

    modules: str | None
    oldest: int | None = None
    newest: int | None = None
    refusal: str | None = None
    next_step: str | None = None


def choose(devices: list[dict[str, Any]], modules: str = AUTO, branch: str | None = None) -> Choice:
    """Return what suits all GPUs of a host; `branch` is a branch, a version or None for any."""
    gpus = own_gpus(devices)
    asked = _number(branch)
    refused = _impossible(gpus) or _unsuited_modules(gpus, modules) or _unsuited_branch(gpus, modules, asked)
    if refused:
        return Choice(None, refusal=refused[0], next_step=refused[1])
    needs = [NEEDS[gpu["architecture"]] for gpu in gpus]
    oldest = max((need.oldest for need in needs if need.oldest), default=None)
    newest = min((need.newest for need in needs if need.newest), default=None)
    return Choice(_modules(needs, modules, asked), oldest, newest)


def describe(devices: list[dict[str, Any]]) -> str:
    """Describe what driver the GPUs of a host need, empty if there is no GPU."""
    if not own_gpus(devices):
        return ""
    choice = choose(devices)
    if choice.refusal:
        return f"{choice.refusal}: {choice.next_step}"
    limits = [f"{choice.oldest} or newer"] if choice.oldest else []
    limits += [f"{choice.newest} at most"] if choice.newest else []
    branch = f" of branch {' and '.join(limits)}" if limits else ""
    kinds = sorted({gpu["architecture"] for gpu in own_gpus(devices)})
    takes = f"{' and '.join(kinds)} {'take' if len(kinds) > 1 else 'takes'}"
    return f"{takes} a driver{branch} with the {choice.modules} kernel modules"


def _modules(needs: list[Need], asked: str, branch: int | None) -> str:
    possible = [kind for kind in (OPEN, PROPRIETARY) if all(kind in need.modules for need in needs)]
    if asked in possible:
        return asked
    before_default = branch is not None and branch < OPEN_PREFERRED_SINCE
    return possible[-1 if before_default else 0]


def _impossible(gpus: list[dict[str, Any]]) -> tuple[str, str] | None:
    """Return why no driver at all supports these GPUs together."""
    ancient = [gpu for gpu in gpus if gpu["architecture"] not in NEEDS]
    if ancient:
        return (
            f"{_named(ancient)} is not supported by drivers newer than branch 470",
            TAKE_OUT.format("it"),
        )
    old = [gpu for gpu in gpus if NEEDS[gpu["architecture"]].modules == (PROPRIETARY,)]
    new = [gpu for gpu in gpus if NEEDS[gpu["architecture"]].modules == (OPEN,)]
    if old and new:
        wants = f"the proprietary kernel modules of branch {LAST_OF_OLD} at most"
        refusal = (
            f"{_named(old)} needs {wants} and {_named(new)} the open ones, and a host can load only one kind"
        )
        return refusal, TAKE_OUT.format("one of the two kinds")
    return None


def _unsuited_modules(gpus: list[dict[str, Any]], asked: str) -> tuple[str, str] | None:
    """Return why the requested kernel modules do not fit."""
    if asked == AUTO:
        strange = [gpu for gpu in gpus if gpu["architecture"] == UNKNOWN]
        settled = any(len(NEEDS[gpu["architecture"]].modules) == 1 for gpu in gpus)
        if strange and not settled:
            ids = ", ".join(f"{gpu['device_id']} in {gpu['slot']}" for gpu in strange)
            return (
                f"no GPU with the device id {ids} is known, so its kernel modules cannot be chosen",
                f"request the {OPEN} ones if it is Turing or newer, the {PROPRIETARY} ones otherwise",
            )
        return None
    wrong = [gpu for gpu in gpus if asked not in NEEDS[gpu["architecture"]].modules]
    if not wrong:
        return None
    other = PROPRIETARY if asked == OPEN else OPEN
    return (
        f"{_named(wrong)} cannot use the {asked} kernel modules and needs the {other} ones",
        f"request the {other} ones, or {AUTO}",
    )


def _unsuited_branch(gpus: list[dict[str, Any]], modules: str, asked: int | None) -> tuple[str, str] | None:
    """Return why the requested branch does not fit."""
    if asked is None:
        return None
    for gpu in gpus:
        need = NEEDS[gpu["architecture"]]
        if need.newest and asked > need.newest:
            return (
                f"{need.newest} is the last driver branch for {_named([gpu])}, but {asked} is requested",
                f"request branch {need.newest}",
            )
        if need.oldest and asked < need.oldest:
            return (
                f"{_named([gpu])} needs driver branch {need.oldest} or newer, but {asked} is requested",
                f"request branch {need.oldest} or newer",
            )
    if modules == PROPRIETARY and asked >= OPEN_ALONE_SINCE:
        return (
            f"branch {asked} has no proprietary kernel modules, which ended before {OPEN_ALONE_SINCE}",
            f"request the {OPEN} ones, or an older branch",
        )
    if modules == OPEN and asked < OPEN_SINCE:
        return (
            f"branch {asked} has no open kernel modules, which exist since {OPEN_SINCE}",
            f"request a newer branch, or the {PROPRIETARY} ones",
        )
    return None


def _named(gpus: list[dict[str, Any]]) -> str:
    """Describe GPUs by architecture and slot."""
    kinds: dict[str, list[str]] = {}
    for gpu in gpus:
        kinds.setdefault(gpu["architecture"], []).append(gpu["slot"])
    return ", ".join(f"the {kind} GPU in {' and '.join(slots)}" for kind, slots in kinds.items())


def _number(branch: str | None) -> int | None:
    found = re.match(r"[0-9]+", branch or "")
    return int(found.group()) if found else None
