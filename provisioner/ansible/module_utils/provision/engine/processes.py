# SPDX-License-Identifier: Apache-2.0
"""Look at the processes of a service: their command lines, open devices and listening addresses."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from ..host.facts import listening_sockets

PROC = Path("/proc")
_ANOTHER_FLAG = re.compile(r"--?[A-Za-z]")


@dataclass(frozen=True)
class Process:
    """Hold the number and the command line of one process."""

    pid: int
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the program's own name."""
        return Path(self.words[0]).name

    def flag(self, names: list[str]) -> str:
        """Return the value of the last of these flags, "true" without a value, empty if there is none."""
        value = ""
        for number, word in enumerate(self.words[1:], start=1):
            name, equals, rest = word.partition("=")
            if name in names:
                following = self.words[number + 1 : number + 2]
                has_value = following and not _ANOTHER_FLAG.match(following[0])
                value = rest if equals else following[0] if has_value else "true"
        return value


def in_group(process: Path, control_group: str) -> bool:
    """Return whether a process belongs to a control group."""
    try:
        return bool(control_group) and control_group in (process / "cgroup").read_text(encoding="utf-8")
    except OSError:  # processes end while they are read
        return False


def members(control_group: str, proc: Path = PROC) -> list[Process]:
    """Return the processes of a control group."""
    found = []
    for folder in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)):
        if in_group(folder, control_group):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
                found.append(Process(int(folder.name), tuple(words)))
    return found


def nvidia_users(control_group: str, proc: Path = PROC) -> list[int]:
    """Return the processes of a control group that have an NVIDIA GPU open."""
    return [process.pid for process in members(control_group, proc) if _opens_gpu(proc / str(process.pid))]


def _opens_gpu(process: Path) -> bool:
    with contextlib.suppress(OSError):
        return any(
            re.fullmatch(r"/dev/nvidia\d+", str(link.resolve())) for link in (process / "fd").iterdir()
        )
    return False


def exposed(control_group: str, configured: str, proc: Path = PROC) -> list[str]:
    """Return where a service listens beyond the host itself although it is not configured to."""
    if configured in ("0.0.0.0", "::"):  # noqa: S104 - a choice of the inventory
        return []
    ports: dict[str, list[int]] = {}
    for socket in listening_sockets(proc):
        address = socket["address"]
        inside = address.startswith("127.") or address in ("::1", configured)
        if not inside and in_group(proc / str(socket["pid"]), control_group):
            ports.setdefault(f"{address} ({socket['process']})", []).append(socket["port"])
    return [
        f"{place} {len(numbers)} port{'s' * (len(numbers) != 1)}" for place, numbers in sorted(ports.items())
    ]
