# SPDX-License-Identifier: Apache-2.0
"""Choose the device of a service, and the GPUs that it may use, from what the probe found on its host.

Runs on the controller. Fails where the host does not have what the inventory requests.
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
# What two services may reserve of one GPU, beside CUDA's own part, and one beside another that reserves none.
BOTH_FIT, ONE_FITS = 0.95, 0.9
ADDRESS = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}:[0-9a-f]{2})(?:\.([0-7]))?", re.IGNORECASE)


class Refused(Exception):
    """Report what the host does not have; `next_step` is what to do about it."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


@dataclass(frozen=True)
class Requested:
    """What a service requests, and what its engine needs; an empty minimum means that there is none.

    `count` is how many GPUs the engine uses where no names are given, 0 for all of them.
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
    def variable(self) -> str:
        """Return the engine's variable for its device."""
        return f"engine_{self.engine}_device"


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """Return device and GPUs of one service, with warnings."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset({*Requested.__dataclass_fields__, "driver", "gpus", "nvidia_pci", "others"})

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
    requested = Requested(**given, names=names, count=count, share=share)
    try:
        device, gpus = choose(requested, **found)
    except Refused as refused:
        # A caller that continues after this failure still knows which device was meant.
        meant = {"device": CPU if requested.device == CPU else CUDA, "gpus": [], "visible": ""}
        return {**meant, "failed": True, "msg": str(refused), "provision": {"next": refused.next_step}}
    uuids = [gpu["uuid"] for gpu in gpus]
    # Without names the engine chooses, and then uses a GPU that is added later as well.
    visible = ",".join(uuids) if requested.names else ""
    using = {"gpus": uuids, "share": requested.share, "named": bool(requested.names)}
    warnings = [*crowded(requested, gpus, others), *divided(requested, gpus)]
    warned = {"provision": {"warning": warnings}} if warnings else {}
    return {"device": device, "gpus": gpus, "visible": visible, "using": using, **warned}


def choose(
    requested: Requested, driver: Mapping[str, Any], gpus: Sequence[Gpu], nvidia_pci: Sequence[Gpu]
) -> tuple[str, list[Gpu]]:
    """Return the device and the GPUs of a service; raises Refused."""
    if requested.device == CPU:
        if requested.names:
            raise Refused(
                f"{requested.variable} is cpu and serve_gpus is {_list(requested.names)}",
                f"remove serve_gpus, or set {requested.variable} to cuda",
            )
        return CPU, []
    # Otherwise a driver that fails or hangs would silently turn a GPU host into a slow CPU host.
    if driver["problem"]:
        slots = ", ".join(str(device["slot"]) for device in nvidia_pci)
        where = f" ({slots})" if slots else ""
        raise Refused(
            f"{driver['problem']}{where}. To fix it, {driver['next']}. "
            f"To run this service on the CPU, set {requested.variable}: cpu.",
            str(driver["next"]),
        )
    if not gpus:
        if requested.device == AUTO and not requested.names:
            return CPU, []
        given = f"{requested.variable} is {requested.device} and serve_gpus is {_list(requested.names)}"
        raise Refused(
            f"{given}, but the driver shows no GPU",
            f"set {requested.variable} to cpu and remove serve_gpus, or add a GPU and its driver to the host",
        )
    chosen = [_named(name, gpus) for name in requested.names] or list(gpus[: requested.count or None])
    _refuse_twice(requested.names, chosen)
    _refuse_old(requested, driver, chosen)
    return CUDA, chosen


def _named(name: str, gpus: Sequence[Gpu]) -> Gpu:
    """Return the one GPU that an index, a UUID or its beginning, a PCI address or a MIG device means."""
    if name.upper().startswith(MIG):
        return _mig_device(name, gpus)
    found = [gpu for gpu in gpus if _is_called(gpu, name)]
    if len(found) != 1:
        many = f"is the beginning of {len(found)} UUIDs" if found else "is not one of this host's GPUs"
        raise Refused(
            f"serve_gpus contains {name}, which {many}: {_there(gpus)}",
            "list each GPU by its index, its UUID or enough of it, or its PCI address",
        )
    (gpu,) = found
    if gpu.get("mig"):
        parts = gpu.get("mig_devices")
        has = f"has {', '.join(parts)}" if parts else "has none yet; `nvidia-smi mig` makes them"
        raise Refused(
            f"serve_gpus contains {name}, GPU {gpu['index']} in MIG mode, of which CUDA uses only the parts",
            f"list a MIG device (the GPU {has}), or turn the mode off with `nvidia-smi -mig 0`",
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
            f"serve_gpus contains {name}, but the driver shows {there}",
            "use a MIG device that `nvidia-smi -L` lists, by its whole UUID, or a GPU that is not divided",
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
                f"serve_gpus lists one GPU twice, as {names[first]} and as {name}",
                "list each GPU of the service once",
            )


def _refuse_old(requested: Requested, driver: Mapping[str, Any], gpus: Sequence[Gpu]) -> None:
    """Refuse what the packages of the engine cannot use; what is not known cannot be too old."""
    old = [gpu for gpu in gpus if is_older(gpu["compute_capability"], requested.minimum_compute_capability)]
    version, cuda = driver.get("version"), driver.get("cuda")
    needs = [f"NVIDIA driver {requested.minimum_driver}"] * is_older(version, requested.minimum_driver)
    needs += [f"a driver for CUDA {requested.minimum_cuda}"] * is_older(cuda, requested.minimum_cuda)
    needs += [f"compute capability {requested.minimum_compute_capability}"] * bool(old)
    if not needs:
        return
    shown = ", ".join(f"{gpu['name']} ({gpu['compute_capability']})" for gpu in old or gpus)
    offers = f" for CUDA {cuda}" if cuda else ""
    own = f", or set {requested.own_build} to your own build" if requested.own_build else ""
    step = "choose newer GPUs in serve_gpus" if old else "update the driver"
    raise Refused(
        f"{requested.title} needs {' and '.join(needs)} or newer, but the host has driver {version}{offers} "
        f"and {shown}",
        f"{step}, set {requested.variable} to cpu{own}",
    )


def crowded(requested: Requested, gpus: Sequence[Gpu], others: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a warning for each earlier service with the same GPUs, unless both list them."""
    warnings = []
    for unit, using in others.items():
        if unit == requested.unit:
            break  # later services get this warning themselves
        shared = [gpu for gpu in gpus if gpu["uuid"] in using["gpus"]]
        both_named = bool(requested.names) and using["named"]
        if not shared or both_named or _fit(requested.share, using["share"]):
            continue
        where = ", ".join(f"GPU {gpu['index']}" for gpu in shared)
        takers = [(requested.unit, requested.share), (unit, using["share"])]
        takes = [f"{name} takes {share:.0%} of its memory" for name, share in takers if share]
        how = f" ({', '.join(takes)})" if takes else ""
        warnings.append(
            f"{requested.unit} and {unit} both use {where}{how}; give each its own GPUs in serve_gpus"
        )
    return warnings


def _fit(one: float, other: float) -> bool:
    return 0 < one + other <= (BOTH_FIT if one and other else ONE_FITS)


def divided(requested: Requested, gpus: Sequence[Gpu]) -> list[str]:
    """Return a warning where CUDA itself chooses one part of a divided GPU and uses no other."""
    parted = ", ".join(f"GPU {gpu['index']}" for gpu in gpus if gpu.get("mig"))
    if requested.names or not parted:
        return []
    step = "set serve_gpus to the one that it should use"
    return [f"{requested.unit} uses only the first MIG device of {parted}; {step}"]


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "unset"
