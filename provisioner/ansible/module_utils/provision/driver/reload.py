# SPDX-License-Identifier: Apache-2.0
"""Unload and load the kernel modules of a driver, and find which processes prevent that."""

from __future__ import annotations

import os
import time
from pathlib import Path

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
PROC, DEVICES = Path("/proc"), "/dev/nvidia"
LONGEST_COMMAND = 60
UNLOAD_SECONDS = 30


def holders(proc: Path = PROC) -> list[dict[str, object]]:
    """Return every process that has a device of NVIDIA's open."""
    found = []
    for entry in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)):
        devices = sorted({link for link in _links(entry / "fd") if link.startswith(DEVICES)})
        if devices:
            found.append(
                {
                    "pid": int(entry.name),
                    "process": _text(entry / "comm") or "unknown",
                    "command": _text(entry / "cmdline").replace("\0", " ").strip()[:LONGEST_COMMAND],
                    "user": _owner(entry),
                    "unit": _unit(_text(entry / "cgroup")),
                    "devices": devices,
                }
            )
    return found


def strangers(found: list[dict[str, object]], units: list[str]) -> list[str]:
    """Describe the processes that do not end with the services that are stopped anyway."""
    known = {*units, *SERVICES}
    return [
        f"{one['process']} (process {one['pid']} of {one['user']}"
        + (f", {one['unit']}" if one["unit"] else "")
        + f") uses {', '.join(map(str, one['devices']))}"  # type: ignore[call-overload]
        for one in found
        if one["unit"] not in known
    ]


def unload() -> str:
    """Unload the driver; return why that cannot be done, empty when it is gone."""
    deadline = time.monotonic() + UNLOAD_SECONDS
    said = ""
    while time.monotonic() < deadline:
        there = [name for name in STACK if name in loaded()]
        if not there:
            return ""
        for name in there:
            done = call("modprobe", "-r", name, seconds=UNLOAD_SECONDS)
            said = done.stderr.strip() or said
            if done.returncode:
                break
        time.sleep(0.5)
    there = [name for name in STACK if name in loaded()]
    return f"{', '.join(there)} stay loaded: {said or 'still in use'}" if there else ""


def drop_nouveau() -> bool:
    """Unload nouveau if no display uses it; return whether it is gone."""
    if "nouveau" in loaded():
        call("modprobe", "-r", "nouveau", seconds=UNLOAD_SECONDS)
    return "nouveau" not in loaded()


def load() -> None:
    """Load the driver's modules; raises Fault with the kernel's messages."""
    for name in NEEDED:
        done = call("modprobe", name, seconds=LONGEST_COMMAND)
        if done.returncode:
            raise Fault(
                f"modprobe {name} failed: {done.stderr.strip()}\n{kernel_log()}",
                "see `dmesg | grep -iE 'nvrm|nvidia'` on the host",
            )


def kernel_log(lines: int = 6) -> str:
    """Return the last that the kernel said of the driver."""
    said = call("dmesg", seconds=LONGEST_COMMAND).stdout.splitlines()
    words = ("nvrm", "nvidia", "nouveau", "module verification", "unsigned module")
    return "\n".join([line for line in said if any(word in line.lower() for word in words)][-lines:])


def _links(folder: Path) -> list[str]:
    try:
        return [os.readlink(str(path)) for path in folder.iterdir()]
    except OSError:  # it ended meanwhile
        return []


def _text(path: Path) -> str:
    return str(text_of(path)).strip()


def _owner(entry: Path) -> str:
    try:
        return entry.owner()
    except (OSError, KeyError):
        return "an unknown user"


def _unit(cgroup: str) -> str:
    """Return the service that a process belongs to, by its control group."""
    names = [part for line in cgroup.splitlines() for part in line.split("/") if part.endswith(".service")]
    return names[-1] if names else ""
