# SPDX-License-Identifier: Apache-2.0
"""Inspect everything on a host that decides about its driver."""

from __future__ import annotations

import platform
from typing import Any

from ..gpu import kernel as kernels
from ..gpu import pci
from ..gpu.choice import OPEN
from ..gpu.kernel import KernelModule
from ..host.commands import call
from ..host.facts import os_release
from ..host.files import read_json
from ..host.managed import managed
from . import reload
from .decision import Seen
from .installed import Installed, installed, strays
from .packages import DISTRIBUTION, NVIDIA, System, packages
from .record import CHANGING, RECORD
from .services import FABRIC, STOPPED, on_gpu
from .steps import BLACKLIST
from .transaction import driver_manager

# The SXM boards with NVLink 5, whose switches are no PCI devices of the host: B200 and B300.
NVLINK5 = ("0x2901", "0x2909", "0x3182")
NVLINK5_PACKAGES = ("nvlsm", "infiniband-diags")


def system() -> System:
    """Describe the distribution and the processor."""
    found = os_release()
    return System(found["id"], found["family"], found["version"], found["major"], platform.machine())


def look() -> Seen:
    """Return what is installed of a driver, and everything that affects a change of it."""
    here = system()
    running, booting = kernels.running(), kernels.booting()
    version, _ = kernels.loaded_driver()
    modules = kernels.loaded()
    units, devices, driver = list(managed()), pci.devices(), installed(here, driver_manager())
    ready, here_module = kernels.module(booting), kernels.module(running)
    serving = on_gpu(units)
    return Seen(
        system=here,
        devices=devices,
        installed=driver,
        running=running,
        booting=booting,
        ready=ready,
        loaded=version,
        nouveau="nouveau" in modules,
        boots_nouveau=kernels.boots_nouveau(booting, BLACKLIST),
        secure_boot=kernels.secure_boot(),
        enrolled=kernels.enrolled_key(),
        holders=reload.strangers(units),
        strays=[*_missing_fabric(here, devices, driver, ready), *strays(driver)],
        running_module=here_module.version if here_module else None,
        running_headers=kernels.has_headers(running),
        ours=RECORD.exists(),
        sourceless=[str(path) for path in kernels.sourceless()],
        unfinished=_unfinished(devices),
        serving=serving,
    )


def _unfinished(devices: list[dict[str, Any]]) -> list[str]:
    """Return what an interrupted change of the driver has left undone."""
    stopped = read_json(STOPPED, [])
    found = []
    if stopped:
        found.append(f"a change of the driver was interrupted, which had stopped {', '.join(stopped)}")
    elif read_json(RECORD, {}).get("state") == CHANGING:
        found.append("a change of the driver was interrupted")
    if fabric(devices)[0] and call("systemctl", "is-enabled", "--quiet", FABRIC).returncode == 1:
        found.append(f"{FABRIC} is not enabled")
    return found


def _missing_fabric(
    here: System, devices: list[dict[str, Any]], driver: Installed, ready: KernelModule | None
) -> list[str]:
    """Return what prevents GPUs behind NVSwitches from working: a missing manager."""
    joined, _ = fabric(devices)
    if not joined or driver.branch is None or driver.origin not in (NVIDIA, DISTRIBUTION):
        return []
    named = packages(here, driver.origin, driver.branch, ready.flavour if ready else OPEN, "").fabric
    return [
        f"{name} is missing, and GPUs behind NVSwitches do not work without it"
        for name in named[:1]
        if name not in driver.packages
    ]


def fabric(devices: list[dict[str, Any]]) -> tuple[bool, list[str]]:
    """Return whether NVSwitches join the GPUs, and what those need beside the driver's own services."""
    nvlink5 = any(one["device_id"] in NVLINK5 for one in devices)
    switches = any(one["kind"] == pci.NVSWITCH for one in devices)
    return switches or nvlink5, list(NVLINK5_PACKAGES) if nvlink5 else []
