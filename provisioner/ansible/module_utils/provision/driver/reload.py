# SPDX-License-Identifier: Apache-2.0
"""Unload and load the kernel modules of a driver, and find which processes prevent that."""

from __future__ import annotations

import time
from pathlib import Path

from ..gpu.containers import held_devices
from ..gpu.kernel import loaded
from ..host.commands import call
from ..host.fault import Fault
from ..host.paths import text_of

# In the order in which they let go of each other.
STACK = ("nvidia_drm", "nvidia_modeset", "nvidia_peermem", "nvidia_uvm", "nvidia")
NEEDED = ("nvidia", "nvidia_uvm")
# They always use the devices, and are started again with the new driver.
SERVICES = (
    "nvidia-persistenced.service",
    "nvidia-fabricmanager.service",
    "nvidia-imex.service",
    "nvidia-dcgm.service",
    "nvidia-topologyd.service",
    "nvidia-gridd.service",
)
PROC = Path("/proc")
COMMAND_SECONDS = 60
UNLOAD_SECONDS = 30


def strangers(units: list[str], proc: Path = PROC) -> list[str]:
    """Describe the processes that use NVIDIA's devices and do not end with units that are stopped anyway."""
    found = []
    for entry in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)):
        devices, unit = held_devices(entry), _unit(text_of(entry / "cgroup"))
        if devices and unit not in {*units, *SERVICES}:
            name, of = text_of(entry / "comm").strip() or "unknown", f", {unit}" if unit else ""
            user = f"{entry.name} of {_owner(entry)}{of}"
            found.append(f"{name} (process {user}) uses {', '.join(devices)}")
    return found


def unload() -> str:
    """Unload the driver; return why that cannot be done, empty when it is gone."""
    deadline = time.monotonic() + UNLOAD_SECONDS
    said = "still in use"
    while there := [name for name in STACK if name in loaded()]:
        if time.monotonic() >= deadline:
            return f"{', '.join(there)} stay loaded: {said}"
        for name in there:
            done = call("modprobe", "-r", name, seconds=UNLOAD_SECONDS)
            said = done.stderr.strip() or said
            if done.returncode:
                break
        time.sleep(0.5)
    return ""


def drop_nouveau() -> bool:
    """Unload nouveau if no display uses it; return whether it is gone."""
    if "nouveau" in loaded():
        call("modprobe", "-r", "nouveau", seconds=UNLOAD_SECONDS)
    return "nouveau" not in loaded()


def load() -> None:
    """Load the driver's modules; raises Fault with the kernel's messages."""
    for name in NEEDED:
        done = call("modprobe", name, seconds=COMMAND_SECONDS)
        if done.returncode:
            raise Fault(
                f"modprobe {name} failed:\n{done.stderr.strip()}\n{kernel_log()}",
                "see `dmesg | grep -iE 'nvrm|nvidia'` on the host",
            )


def kernel_log(lines: int = 6) -> str:
    """Return the last that the kernel said of the driver."""
    said = call("dmesg", seconds=COMMAND_SECONDS).stdout.splitlines()
    words = ("nvrm", "nvidia", "nouveau", "module verification", "unsigned module")
    return "\n".join([line for line in said if any(word in line.lower() for word in words)][-lines:])


def _owner(entry: Path) -> str:
    try:
        return entry.owner()
    except (OSError, KeyError):
        return "an unknown user"


def _unit(cgroup: str) -> str:
    """Return the service that a process belongs to, by its control group."""
    names = [part for line in cgroup.splitlines() for part in line.split("/") if part.endswith(".service")]
    return names[-1] if names else ""
