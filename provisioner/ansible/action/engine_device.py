# SPDX-License-Identifier: Apache-2.0
"""Choose the device of a service, and the GPUs that it may use, from what the probe found on its host.

Runs on the controller. Fails where the host cannot give what the inventory asks for.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

# In a checkout, `ansible` may belong to a Python in which the package is not installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from provisioner.versions import is_older

AUTO, CPU, CUDA = "auto", "cpu", "cuda"
MIG = "MIG-"
Gpu = Mapping[str, Any]
# What two services may reserve of one GPU, beside what CUDA takes, and one beside another that reserves none.
BOTH_FIT, ONE_FITS = 0.95, 0.9
ADDRESS = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}:[0-9a-f]{2})(?:\.([0-7]))?", re.IGNORECASE)


class Refused(Exception):
    """Say what the host cannot give; `next_step` is what to do about it."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


@dataclass(frozen=True)
class Asked:
    """Hold what a service asks for, and what its engine needs; an empty need is none.

    `count` is how many GPUs the engine takes where no names are given, 0 for all of them.
    """

    unit: str
    title: str
    engine: str
    device: str = AUTO
    names: tuple[str, ...] = ()
    count: int = 0
    minimum_driver: str = ""
    minimum_cuda: str = ""
    minimum_compute_capability: str = ""
    own_build: str = ""
    share: float = 0.0

    @property
    def word(self) -> str:
        """Return the engine's own word for its device."""
        return f"engine_{self.engine}_device"


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """Give device and GPUs of one service, and what deserves a second look."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset({*Asked.__dataclass_fields__, "driver", "gpus", "nvidia_pci", "others"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what was chosen, or the failure with what to do about it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        return {**result, "changed": False, **answer(dict(self._task.args))}


def answer(given: dict[str, Any]) -> dict[str, Any]:
    """Return the result of the task with these arguments."""
    found = {name: given.pop(name) for name in ("driver", "gpus", "nvidia_pci")}
    others = given.pop("others", None) or {}
    names = tuple(str(name).strip() for name in given.pop("names", None) or ())
    count, share = int(given.pop("count", 0) or 0), float(given.pop("share", 0) or 0)
    asked = Asked(**given, names=names, count=count, share=share)
    try:
        device, gpus = choose(asked, **found)
    except Refused as refused:
        # Whoever goes on after this failure still knows which device was meant.
        meant = {"device": CPU if asked.device == CPU else CUDA, "gpus": [], "visible": ""}
        return {**meant, "failed": True, "msg": str(refused), "provision": {"next": refused.next_step}}
    uuids = [gpu["uuid"] for gpu in gpus]
    # Without names the choice is left to the engine, which then uses a GPU that comes later as well.
    visible = ",".join(uuids) if asked.names else ""
    using = {"gpus": uuids, "share": asked.share, "named": bool(asked.names)}
    warnings = [*crowded(asked, gpus, others), *divided(asked, gpus)]
    warned = {"provision": {"warning": warnings}} if warnings else {}
    return {"device": device, "gpus": gpus, "visible": visible, "using": using, **warned}


def choose(
    asked: Asked, driver: Mapping[str, Any], gpus: Sequence[Gpu], nvidia_pci: Sequence[Gpu]
) -> tuple[str, list[Gpu]]:
    """Return the device and the GPUs of a service; raises Refused."""
    if asked.device == CPU:
        if asked.names:
            raise Refused(
                f"{asked.word} is cpu and serve_gpus is {_list(asked.names)}",
                f"leave serve_gpus out, or set {asked.word} to cuda",
            )
        return CPU, []
    # Otherwise a driver that broke or hangs would turn a GPU host into a slow CPU host without a word.
    if driver["problem"]:
        slots = ", ".join(str(device["slot"]) for device in nvidia_pci)
        where = f" ({slots})" if slots else ""
        raise Refused(
            f"{driver['problem']}{where}. To mend it, {driver['next']}. "
            f"This service runs on the CPU with {asked.word}: cpu.",
            str(driver["next"]),
        )
    if not gpus:
        if asked.device == AUTO and not asked.names:
            return CPU, []
        names = _list(asked.names)
        raise Refused(
            f"{asked.word} is {asked.device} and serve_gpus is {names}, but the driver shows no GPU",
            f"set {asked.word} to cpu and leave serve_gpus out, or give the host a GPU and its driver",
        )
    chosen = [_named(name, gpus) for name in asked.names] or list(gpus[: asked.count or None])
    _refuse_twice(asked.names, chosen)
    _refuse_old(asked, driver, chosen)
    return CUDA, chosen


def _named(name: str, gpus: Sequence[Gpu]) -> Gpu:
    """Return the one GPU that an index, a UUID or its beginning, a PCI address or a MIG device means."""
    if name.upper().startswith(MIG):
        return _mig_device(name, gpus)
    found = [gpu for gpu in gpus if _is_called(gpu, name)]
    if len(found) != 1:
        many = f"is the beginning of {len(found)} UUIDs" if found else "is none of this host's GPUs"
        raise Refused(
            f"serve_gpus names {name}, which {many}: {_there(gpus)}",
            "name each GPU by its index, its UUID or enough of it, or its PCI address",
        )
    (gpu,) = found
    if gpu.get("mig"):
        parts = gpu.get("mig_devices")
        has = f"has {', '.join(parts)}" if parts else "has none yet; `nvidia-smi mig` makes them"
        raise Refused(
            f"serve_gpus names {name}, GPU {gpu['index']} in MIG mode, of which CUDA uses only the parts",
            f"name a MIG device (the GPU {has}), or switch the mode off with `nvidia-smi -mig 0`",
        )
    return gpu


def _is_called(gpu: Gpu, name: str) -> bool:
    if name.isdigit():
        return bool(gpu["index"] == int(name))
    if name.upper().startswith("GPU-"):
        return str(gpu["uuid"]).lower().startswith(name.lower())
    address = ADDRESS.fullmatch(name)
    if not address:
        return False
    domain, place, function = address.groups()
    own_domain, _, own_place = str(gpu["pci"]).partition(":")
    if domain and int(domain, 16) != int(own_domain, 16):
        return False
    return own_place == f"{place.lower()}.{function or '0'}"


def _mig_device(name: str, gpus: Sequence[Gpu]) -> Gpu:
    """Return a part of a divided GPU; a library that cannot list the parts leaves the judgement to CUDA."""
    divided = [gpu for gpu in gpus if gpu.get("mig")]
    listed = [(gpu, part) for gpu in divided for part in gpu.get("mig_devices") or ()]
    for gpu, part in listed:
        if part.lower() == name.lower():
            return {**gpu, "uuid": part, "name": f"{gpu['name']}, a MIG device"}
    if not divided or all(gpu.get("mig_devices") is not None for gpu in divided):
        there = ", ".join(part for _, part in listed) or "no MIG device"
        raise Refused(
            f"serve_gpus names {name}, but the driver shows {there}",
            "name a MIG device that `nvidia-smi -L` lists, by its whole UUID, or a GPU that is not divided",
        )
    return {"index": None, "uuid": name, "name": "MIG device", "compute_capability": "", "pci": ""}


def _there(gpus: Sequence[Gpu]) -> str:
    return "; ".join(f"{gpu['index']} = {gpu['uuid']} = {gpu['pci']} ({gpu['name']})" for gpu in gpus)


def _refuse_twice(names: Sequence[str], chosen: Sequence[Gpu]) -> None:
    uuids = [gpu["uuid"] for gpu in chosen]
    for number, name in enumerate(names):
        first = uuids.index(uuids[number])
        if first < number:
            raise Refused(
                f"serve_gpus names one GPU twice, as {names[first]} and as {name}",
                "name each GPU of the service once",
            )


def _refuse_old(asked: Asked, driver: Mapping[str, Any], gpus: Sequence[Gpu]) -> None:
    """Refuse what the packages of the engine cannot use; what is not known cannot be too old."""
    old = [gpu for gpu in gpus if is_older(gpu["compute_capability"], asked.minimum_compute_capability)]
    version, cuda = driver.get("version"), driver.get("cuda")
    needs = [f"NVIDIA driver {asked.minimum_driver}"] * is_older(version, asked.minimum_driver)
    needs += [f"a driver for CUDA {asked.minimum_cuda}"] * is_older(cuda, asked.minimum_cuda)
    needs += [f"compute capability {asked.minimum_compute_capability}"] * bool(old)
    if not needs:
        return
    shown = ", ".join(f"{gpu['name']} ({gpu['compute_capability']})" for gpu in old or gpus)
    offers = f" for CUDA {cuda}" if cuda else ""
    own = f", or name your own build in {asked.own_build}" if asked.own_build else ""
    step = "choose newer GPUs in serve_gpus" if old else "update the driver"
    raise Refused(
        f"{asked.title} needs {' and '.join(needs)} or newer, and the host has driver {version}{offers} "
        f"and {shown}",
        f"{step}, set {asked.word} to cpu{own}",
    )


def crowded(asked: Asked, gpus: Sequence[Gpu], others: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a warning for each earlier service that uses the same GPUs though nobody named them for both."""
    warnings = []
    for unit, using in others.items():
        if unit == asked.unit:
            break  # what comes after says it there
        shared = [gpu for gpu in gpus if gpu["uuid"] in using["gpus"]]
        both_named = bool(asked.names) and using["named"]
        if not shared or both_named or _fit(asked.share, using["share"]):
            continue
        where = ", ".join(f"GPU {gpu['index']}" for gpu in shared)
        takers = [(asked.unit, asked.share), (unit, using["share"])]
        takes = [f"{name} takes {share:.0%} of its memory" for name, share in takers if share]
        how = f" ({', '.join(takes)})" if takes else ""
        warnings.append(
            f"{asked.unit} and {unit} both use {where}{how}; give each its own GPUs in serve_gpus"
        )
    return warnings


def _fit(one: float, other: float) -> bool:
    return 0 < one + other <= (BOTH_FIT if one and other else ONE_FITS)


def divided(asked: Asked, gpus: Sequence[Gpu]) -> list[str]:
    """Return a warning where CUDA itself chooses one part of a divided GPU and uses no other."""
    parted = ", ".join(f"GPU {gpu['index']}" for gpu in gpus if gpu.get("mig"))
    if asked.names or not parted:
        return []
    step = "name the one that it should use in serve_gpus"
    return [f"{asked.unit} uses the first MIG device of {parted} alone; {step}"]


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "unset"
