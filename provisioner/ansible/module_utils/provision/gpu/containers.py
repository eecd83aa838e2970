# SPDX-License-Identifier: Apache-2.0
"""Find the containers of a host that use NVIDIA GPUs, which they may lose by `systemctl daemon-reload`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from ..host.paths import open_files, text_of

PROC = Path("/proc")
DEVICE = "/dev/nvidia"
# One GPU or one slice of one; the control devices alone are no GPU.
GPU = re.compile(r"nvidia([0-9]+|-caps)")
IDENTITY = r"(?P<id>[0-9a-f]{64})"
# How each engine names the control group of a container, by systemd's driver and by its own.
GROUPS = (
    ("docker", re.compile(rf"docker-{IDENTITY}\.scope")),
    ("podman", re.compile(rf"libpod-(payload-)?{IDENTITY}(\.scope)?")),
    ("containerd", re.compile(rf"(cri-containerd|nerdctl)-{IDENTITY}\.scope")),
    ("cri-o", re.compile(rf"crio-{IDENTITY}(\.scope)?")),
)
BARE = re.compile(IDENTITY)


class Container(NamedTuple):
    """Identify a container."""

    engine: str
    id: str


def gpu_containers(proc: Path = PROC) -> list[dict[str, Any]]:
    """List the containers that use GPUs or were given some, each once: engine, id, process and devices."""
    found: dict[Container, dict[str, Any]] = {}
    # A host that is a container itself may see its own name in every path.
    own = container_of(text_of(proc / "1/cgroup"))
    for pid in sorted(int(entry.name) for entry in proc.glob("[0-9]*") if entry.name.isdigit()):
        folder = proc / str(pid)
        container = container_of(text_of(folder / "cgroup"))
        if container is None or container == own:
            continue
        held = held_devices(folder)
        known = found.get(container)
        if known and known["holds"]:
            known["devices"] = sorted({*known["devices"], *held})
        elif known is None or held:
            # The oldest process that holds a device speaks for its container, else the oldest of all.
            found[container] = {
                "id": container.id,
                "engine": container.engine,
                "pid": pid,
                "process": text_of(folder / "comm").strip() or "unknown",
                "devices": held or given_devices(folder),
                "holds": bool(held),
            }
    return [entry for entry in found.values() if entry["devices"]]


def named(container: dict[str, Any]) -> str:
    """Return how a message refers to a container."""
    process = f"{container['process']}, process {container['pid']}"
    return f"{container['engine']} container {container['id'][:12]} ({process})"


def describe(container: dict[str, Any]) -> str:
    """Return a container and its devices for a message."""
    verb = "holds" if container["holds"] else "is given"
    return f"{named(container)} {verb} {', '.join(container['devices'])}"


def container_of(text: str) -> Container | None:
    """Return the innermost container that a process's control groups name."""
    for line in text.splitlines():
        parts = line.split(":", 2)[-1].split("/")
        for index in range(len(parts) - 1, -1, -1):
            for engine, pattern in GROUPS:
                match = pattern.fullmatch(parts[index])
                if match:
                    return Container(engine, match.group("id"))
            if BARE.fullmatch(parts[index]):
                return Container("docker" if "docker" in parts[:index] else "containerd", parts[index])
    return None


def held_devices(folder: Path) -> list[str]:
    """List NVIDIA's devices that a process has open."""
    return sorted({target for target in open_files(folder) if target.startswith(DEVICE)})


def given_devices(folder: Path) -> list[str]:
    """List the GPUs that a process can see in its own root, whether it uses them or not."""
    devices = folder / "root/dev"
    # A container's image could let its /dev lead anywhere.
    if devices.is_symlink():
        return []
    try:
        return sorted(f"/dev/{entry.name}" for entry in devices.iterdir() if GPU.fullmatch(entry.name))
    except OSError:  # the process has ended, or it is not ours to look at
        return []
