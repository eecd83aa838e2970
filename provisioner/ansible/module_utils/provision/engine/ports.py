# SPDX-License-Identifier: Apache-2.0
"""Find out who listens where an engine is to listen."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from ..host import managed
from ..host.facts import open_sockets, socket_owners
from ..host.paths import text_of

PROC = Path("/proc")
# What an engine may be told to listen on, as an address.
_ADDRESSES = {"localhost": "127.0.0.1", "": "0.0.0.0", "*": "0.0.0.0"}  # noqa: S104 - a choice of the inventory


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
        groups = self._control_groups()
        return bool(self.pid) and (not groups or (bool(control_group) and control_group in groups))

    def unit(self) -> str:
        """Return the managed unit that the process belongs to, empty if there is none."""
        ours = managed.others("")
        names = re.findall(r"/([^/\n]+\.service)(?=/|$)", self._control_groups(), re.MULTILINE)
        return next((name for name in names if name in ours), "")

    def _control_groups(self) -> str:
        return text_of(PROC / str(self.pid) / "cgroup")


def holder(address: str, port: int) -> Holder | None:
    """Return the process that keeps an engine from listening on an address and port, None if it is free."""
    wanted = _ADDRESSES.get(address, address).strip("[]")
    for inode, taken, number in open_sockets(PROC):
        if number == port and overlap(wanted, taken):
            pid = socket_owners(PROC).get(inode, 0)
            return Holder(pid, text_of(PROC / str(pid) / "comm").strip())
    return None


def overlap(first: str, second: str) -> bool:
    """Return whether two sockets of one port exclude each other; a wildcard excludes everything."""
    one, two = ipaddress.ip_address(first), ipaddress.ip_address(second)
    if one.is_unspecified or two.is_unspecified:
        # [::] accepts IPv4 as well unless it was opened otherwise, which the kernel's table does not show.
        return one.version == two.version or "::" in (first, second)
    return one == two
