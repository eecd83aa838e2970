# SPDX-License-Identifier: Apache-2.0
"""Read and write what makes GPUs available to containers: the CDI specification and links in /dev/char."""

from __future__ import annotations

import os
import re
import shutil
import stat
from pathlib import Path
from typing import Any

from ..host.commands import call
from ..host.fault import Fault
from ..host.settings import read_file
from ..host.systemd import state

TOOL = "nvidia-ctk"
KIND = "nvidia.com/gpu"
FOLDERS = (Path("/etc/cdi"), Path("/run/cdi"))
KEPT, PASSING = (folder / "nvidia.yaml" for folder in FOLDERS)
SERVICE, WATCHER = "nvidia-cdi-refresh.service", "nvidia-cdi-refresh.path"
DEV = Path("/dev")
# A module that is not loaded yet has no major number, and its devices would be linked as 0:0.
LINK = (TOOL, "system", "create-dev-char-symlinks", "--create-all", "--load-kernel-modules")
# What NVIDIA's own troubleshooting page gives against containers that lose their GPUs at a daemon-reload.
RULE = Path("/etc/udev/rules.d/71-provision-nvidia-dev-char.rules")
RULE_TEXT = (
    "# Written by provision. systemd finds the GPUs of a container by these links when it reloads.\n"
    f'ACTION=="add", DEVPATH=="/bus/pci/drivers/nvidia", RUN+="/usr/bin/{" ".join(LINK)}"\n'
)
LIST_SECONDS = 60
GENERATE_SECONDS = 180
LIBRARY = re.compile(r"lib(?:cuda|nvidia-ml)\.so\.([0-9]{3,}(?:\.[0-9]+)+)")


def listed() -> set[str]:
    """Return the names of the GPUs that a container can be given, without their kind."""
    shown = call(TOOL, "cdi", "list", seconds=LIST_SECONDS).stdout if shutil.which(TOOL) else ""
    words = (line.strip() for line in shown.splitlines())
    return {word.partition("=")[2] for word in words if word.startswith(f"{KIND}=")}


def missing(gpus: list[dict[str, Any]], names: set[str]) -> list[str]:
    """Return the GPUs that a list of devices lacks; one that is split is offered by its parts alone."""
    return [gpu["uuid"] for gpu in gpus if not gpu.get("mig") and gpu["uuid"] not in names]


def described_drivers(folders: tuple[Path, ...] = FOLDERS) -> set[str]:
    """Return the driver versions whose libraries the specifications list."""
    texts = [read_file(str(path)) or "" for folder in folders for path in folder.glob("nvidia*.*")]
    return {version for text in texts for version in LIBRARY.findall(text)}


def fault_of(gpus: list[dict[str, Any]], driver: str | None) -> str:
    """Return what is wrong with the specifications, or nothing."""
    absent = missing(gpus, listed())
    if absent:
        return f"no CDI device for {', '.join(absent)}"
    # Ours counts; an older one that someone else has put into /etc/cdi may stay behind it.
    stale = described_drivers()
    if driver and stale and driver not in stale:
        return f"the specification is for driver {', '.join(sorted(stale))}, but {driver} is loaded"
    return ""


def units() -> list[str]:
    """Return the units with which the toolkit keeps the specification up to date, where it has them."""
    return [unit for unit in (WATCHER, SERVICE) if state(unit).loaded]


def is_enabled(unit: str) -> bool:
    """Return whether a unit starts at boot."""
    return bool(call("systemctl", "is-enabled", unit).returncode == 0)


def generate(gpus: list[dict[str, Any]], driver: str | None) -> Path | None:
    """Write the specification, by the toolkit's own unit if that works; return the file if we wrote it."""
    if SERVICE in units():
        call("systemctl", "restart", SERVICE, seconds=GENERATE_SECONDS)
        if not fault_of(gpus, driver):
            return None
    path = PASSING if PASSING.exists() else KEPT
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    argv = (TOOL, "cdi", "generate", f"--output={path}")
    done = call(*argv, seconds=GENERATE_SECONDS)
    wrong = done.stderr.strip() if done.returncode else fault_of(gpus, driver)
    if wrong:
        raise Fault(
            f"{' '.join(argv)} did not make the GPUs available to containers: {wrong}",
            "run it on the host; it needs a working driver: check 'nvidia-smi -L'",
        )
    return path


def unlinked(dev: Path = DEV) -> list[str]:
    """Return NVIDIA's devices without the link through which systemd finds them."""
    found = []
    for node in sorted(dev.glob("nvidia*")):
        status = node.lstat()
        if stat.S_ISCHR(status.st_mode):
            number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
            if not os.path.lexists(str(dev / "char" / number)):
                found.append(f"/dev/{node.name}")
    return found


def link() -> str:
    """Add the links, and return what went wrong; containers work without them until systemd reloads."""
    done = call(*LINK, seconds=LIST_SECONDS)
    left = unlinked()
    if done.returncode:
        return f"{' '.join(LINK)} failed: {done.stderr.strip()}"
    return f"there is no link in /dev/char for {', '.join(left)}" if left else ""


def reload_udev() -> None:
    """Have udev read its rules again, where it is running."""
    if shutil.which("udevadm") and Path("/run/udev/control").exists():
        call("udevadm", "control", "--reload")
