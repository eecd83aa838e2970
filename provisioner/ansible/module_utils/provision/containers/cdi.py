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
from ..host.paths import text_of
from ..host.settings import command, read_file
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
OF_GPUS = re.compile(r'(?m)^\s*"?kind"?:\s*"?nvidia\.com/gpu"?')
LIST_SECONDS = 60
GENERATE_SECONDS = 180
# What the toolkit warns of: of two specifications of the same rank, neither counts.
CONFLICT = re.compile(r'conflicting device \\*"([^"\\]+)\\*" \(specs \\*"([^"\\]+)\\*", \\*"([^"\\]+)\\*"\)')
LIBRARY = re.compile(r"lib(?:cuda|nvidia-ml)\.so\.([0-9]{3,}(?:\.[0-9]+)+)")


def listed() -> set[str]:
    """Return the names of the GPUs that a container can be given, without their kind."""
    shown = call(TOOL, "cdi", "list", seconds=LIST_SECONDS).stdout if shutil.which(TOOL) else ""
    words = (line.strip() for line in shown.splitlines())
    return {word.partition("=")[2] for word in words if word.startswith(f"{KIND}=")}


def conflict() -> Fault | None:
    """Return which two specifications hide a GPU from every container, as both describe it."""
    found = CONFLICT.search(command(TOOL, "cdi", "list")[1])
    if not found:
        return None
    device, *files = found.groups()
    return Fault(
        f"{' and '.join(sorted(files))} both describe {device}, so that no container gets it",
        "remove the one that is out of date (compare them with `nvidia-ctk cdi generate`), then apply again",
    )


def others(path: Path) -> list[Path]:
    """Return the specifications of GPUs beside this one, of the same rank."""
    files = [one for one in sorted(path.parent.glob("*")) if one.suffix in (".yaml", ".json") and one != path]
    return [one for one in files if OF_GPUS.search(text_of(one))]


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
    clash = conflict() if absent else None
    if clash:
        return str(clash)
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
    clash = conflict()
    if clash:
        raise clash
    if SERVICE in units():
        call("systemctl", "restart", SERVICE, seconds=GENERATE_SECONDS)
        if not fault_of(gpus, driver):
            return None
    path = PASSING if PASSING.exists() else KEPT
    beside = others(path)
    if beside:
        # Ours would hide its GPUs from every container, and it is not ours to change.
        raise Fault(
            f"{fault_of(gpus, driver)}; {beside[0]} describes GPUs too, and two such files hide them",
            f"run `{TOOL} cdi generate --output={beside[0]}` on the host or remove it, then apply again",
        )
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
