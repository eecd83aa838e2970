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

from ..host.fault import Fault
from . import architecture as kind
from .architecture import UNKNOWN
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
    kind.MAXWELL: OLD,
    kind.PASCAL: OLD,
    kind.VOLTA: OLD,
    kind.TURING: EITHER,
    kind.AMPERE: EITHER,
    kind.ADA: EITHER,
    kind.HOPPER: EITHER,
    kind.GRACE_HOPPER: Need((OPEN,), oldest=OPEN_SINCE),  # [transition]
    kind.BLACKWELL: Need((OPEN,), oldest=FIRST_OF_BLACKWELL),  # [transition, operator]
    # Nothing since Blackwell went back to the proprietary modules, so what is newer than this table will not.
    kind.NEWER: Need((OPEN,), oldest=FIRST_OF_BLACKWELL),
    # Only a person can know what an unknown GPU is, so it gets what is requested.
    kind.UNKNOWN: EITHER,
}


@dataclass(frozen=True)
class Choice:
    """Hold the modules to install and the branches that suit."""

    modules: str
    oldest: int | None = None
    newest: int | None = None


def choose(devices: list[dict[str, Any]], modules: str = AUTO, branch: str | None = None) -> Choice:
    """Return what suits all GPUs of a host; raises Fault. `branch` may be a version, or None for any."""
    gpus = own_gpus(devices)
    number = re.match(r"[0-9]+", branch or "")
    asked = int(number.group()) if number else None
    _refuse_gpus(gpus)
    _refuse_modules(gpus, modules)
    if asked is not None:
        _refuse_branch(gpus, modules, asked)
    needs = [NEEDS[gpu["architecture"]] for gpu in gpus]
    oldest = max((need.oldest for need in needs if need.oldest), default=None)
    newest = min((need.newest for need in needs if need.newest), default=None)
    possible = [one for one in (OPEN, PROPRIETARY) if all(one in need.modules for need in needs)]
    preferred = possible[-1 if asked is not None and asked < OPEN_PREFERRED_SINCE else 0]
    return Choice(modules if modules in possible else preferred, oldest, newest)


def describe(devices: list[dict[str, Any]]) -> str:
    """Describe what driver the GPUs of a host need, empty if there is no GPU."""
    kinds = sorted({gpu["architecture"] for gpu in own_gpus(devices)})
    if not kinds:
        return ""
    try:
        choice = choose(devices)
    except Fault as fault:
        return f"{fault}: {fault.next_step}"
    limits = [f"{choice.oldest} or newer"] if choice.oldest else []
    limits += [f"{choice.newest} at most"] if choice.newest else []
    branch = f" of branch {' and '.join(limits)}" if limits else ""
    takes = f"{' and '.join(kinds)} {'take' if len(kinds) > 1 else 'takes'}"
    return f"{takes} a driver{branch} with the {choice.modules} kernel modules"


def _refuse_gpus(gpus: list[dict[str, Any]]) -> None:
    """Refuse GPUs that no driver supports together."""
    ancient = [gpu for gpu in gpus if gpu["architecture"] not in NEEDS]
    if ancient:
        refusal = f"{_named(ancient)} is not supported by drivers newer than branch 470"
        raise Fault(refusal, TAKE_OUT.format("it"))
    old, new = (
        [gpu for gpu in gpus if NEEDS[gpu["architecture"]].modules == (only,)] for only in (PROPRIETARY, OPEN)
    )
    if old and new:
        raise Fault(
            f"{_named(old)} needs the proprietary kernel modules of branch {LAST_OF_OLD} at most and "
            f"{_named(new)} the open ones, and a host can load only one kind",
            TAKE_OUT.format("one of the two kinds"),
        )


def _refuse_modules(gpus: list[dict[str, Any]], asked: str) -> None:
    """Refuse kernel modules that do not suit the GPUs."""
    strange = [gpu for gpu in gpus if gpu["architecture"] == UNKNOWN]
    settled = any(len(NEEDS[gpu["architecture"]].modules) == 1 for gpu in gpus)
    if asked == AUTO and strange and not settled:
        ids = ", ".join(f"{gpu['device_id']} in {gpu['slot']}" for gpu in strange)
        raise Fault(
            f"no GPU with the device id {ids} is known, so its kernel modules cannot be chosen",
            f"request the {OPEN} ones if it is Turing or newer, the {PROPRIETARY} ones otherwise",
        )
    wrong = [gpu for gpu in gpus if asked not in (AUTO, *NEEDS[gpu["architecture"]].modules)]
    if wrong:
        other = PROPRIETARY if asked == OPEN else OPEN
        refusal = f"{_named(wrong)} cannot use the {asked} kernel modules and needs the {other} ones"
        raise Fault(refusal, f"request the {other} ones, or {AUTO}")


def _refuse_branch(gpus: list[dict[str, Any]], modules: str, asked: int) -> None:
    """Refuse a branch that does not suit the GPUs or lacks the modules."""
    for gpu in gpus:
        need = NEEDS[gpu["architecture"]]
        if need.newest and asked > need.newest:
            raise Fault(
                f"{need.newest} is the last driver branch for {_named([gpu])}, but {asked} is requested",
                f"request branch {need.newest}",
            )
        if need.oldest and asked < need.oldest:
            raise Fault(
                f"{_named([gpu])} needs driver branch {need.oldest} or newer, but {asked} is requested",
                f"request branch {need.oldest} or newer",
            )
    if modules == PROPRIETARY and asked >= OPEN_ALONE_SINCE:
        raise Fault(
            f"branch {asked} has no proprietary kernel modules, which ended before {OPEN_ALONE_SINCE}",
            f"request the {OPEN} ones, or an older branch",
        )
    if modules == OPEN and asked < OPEN_SINCE:
        raise Fault(
            f"branch {asked} has no open kernel modules, which exist since {OPEN_SINCE}",
            f"request a newer branch, or the {PROPRIETARY} ones",
        )


def _named(gpus: list[dict[str, Any]]) -> str:
    """Describe GPUs by architecture and slot."""
    kinds: dict[str, list[str]] = {}
    for gpu in gpus:
        kinds.setdefault(gpu["architecture"], []).append(gpu["slot"])
    return ", ".join(f"the {name} GPU in {' and '.join(slots)}" for name, slots in kinds.items())
