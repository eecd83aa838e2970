# SPDX-License-Identifier: Apache-2.0
"""Look at the processes of a host: who listens on a port, and what those of a service were started with."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from ..host import managed
from ..host.facts import listening_sockets
from ..host.paths import open_files, text_of
from ..host.payload import plural

PROC = Path("/proc")
# What an engine may be configured to listen on, as an address.
_ADDRESSES = {"localhost": "127.0.0.1", "": "0.0.0.0", "*": "0.0.0.0"}  # noqa: S104 - a choice of the inventory
_ANOTHER_FLAG = re.compile(r"--?[A-Za-z]")


@dataclass(frozen=True)
class Process:
    """Hold the number and the command line of one process."""

    pid: int
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the program's own name, empty if the process has none here."""
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


@dataclass(frozen=True)
class Holder:
    """Hold the process that listens on a port; `pid` is 0 if this user may not see it."""

    pid: int
    name: str

    def __str__(self) -> str:
        """Return the process as messages show it."""
        return f"{self.name} (pid {self.pid})" if self.pid else "a process that this user may not see"

    def is_of(self, control_group: str) -> bool:
        """Return whether the process belongs to a control group, or has ended in the meantime."""
        groups = control_groups(self.pid)
        return bool(self.pid) and (not groups or (bool(control_group) and control_group in groups))

    def unit(self) -> str:
        """Return the managed unit that the process belongs to, empty if there is none."""
        ours = managed.managed()
        names = re.findall(r"/([^/\n]+\.service)(?=/|$)", control_groups(self.pid), re.MULTILINE)
        return next((name for name in names if name in ours), "")


def holder(address: str, port: int) -> Holder | None:
    """Return the process that keeps an engine from listening on an address and port, None if it is free."""
    wanted = _ADDRESSES.get(address, address).strip("[]")
    for socket in listening_sockets(PROC):
        if socket["port"] == port and overlap(wanted, socket["address"]):
            return Holder(socket["pid"], socket["process"])
    return None


def overlap(first: str, second: str) -> bool:
    """Return whether two sockets of one port exclude each other; a wildcard excludes everything."""
    one, two = ipaddress.ip_address(first), ipaddress.ip_address(second)
    if one.is_unspecified or two.is_unspecified:
        # [::] accepts IPv4 as well unless it was opened otherwise, which the kernel's table does not show.
        return one.version == two.version or "::" in (first, second)
    return one == two


def control_groups(pid: int) -> str:
    """Return the control groups of a process as the kernel lists them, empty if it has ended."""
    return text_of(PROC / str(pid) / "cgroup")


def in_group(pid: int, control_group: str) -> bool:
    """Return whether a process belongs to a control group."""
    return bool(control_group) and control_group in control_groups(pid)


def process(pid: int) -> Process:
    """Return a process of this host with its command line; one that has ended has an empty one."""
    return Process(pid, tuple(text_of(PROC / str(pid) / "cmdline").rstrip("\0").split("\0")))


def members(control_group: str) -> list[Process]:
    """Return the processes of a control group."""
    pids = sorted(int(path.name) for path in PROC.glob("[0-9]*"))
    return [process(pid) for pid in pids if in_group(pid, control_group)]


def nvidia_users(control_group: str) -> list[int]:
    """Return the processes of a control group that have an NVIDIA GPU open."""
    found = ((one.pid, open_files(PROC / str(one.pid))) for one in members(control_group))
    return [pid for pid, files in found if any(re.fullmatch(r"/dev/nvidia\d+", file) for file in files)]


def exposed(control_group: str, configured: str) -> list[str]:
    """Return where a service listens beyond the host itself although it is not configured to."""
    if configured in ("0.0.0.0", "::"):  # noqa: S104 - a choice of the inventory
        return []
    ports: dict[str, int] = {}
    for socket in listening_sockets(PROC):
        address = socket["address"]
        inside = address.startswith("127.") or address in ("::1", configured)
        if not inside and in_group(socket["pid"], control_group):
            place = f"{address} ({socket['process']})"
            ports[place] = ports.get(place, 0) + 1
    return [f"{place} {plural(number, 'port')}" for place, number in sorted(ports.items())]
