# SPDX-License-Identifier: Apache-2.0
"""Find services that still run with libraries or programs that an update has replaced on disk."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from ..host import managed
from ..host.paths import text_of
from ..host.payload import Replaced
from . import processes

# An executable mapping of a file without a name: address, permissions, offset, device, inode, path.
_GONE = re.compile(r"^\S+ ..x\S \S+ \S+ [1-9]\d* +(/\S.*) \(deleted\)$", re.MULTILINE)
_LIBRARY = re.compile(r"\.so(\.[\w.+-]+)?$")
# Where updates replace files. What programs compile and delete again is elsewhere: in /tmp, /dev/shm, memfd,
# their state or caches.
_PLACES = ("/usr/", "/lib", "/opt/")
_CACHE = re.compile(r"/[._]*(py)?caches?_*/")


def libraries(control_group: str) -> list[str]:
    """Return the files that processes of a control group execute and that have gone from the disk."""
    if not control_group:
        return []
    found: set[str] = set()
    for member in processes.members(control_group):
        folder = processes.PROC / str(member.pid)
        found.update(path for path in _GONE.findall(text_of(folder / "maps")) if _counts(path, folder))
    return sorted(found)


def _counts(path: str, process: Path) -> bool:
    if not path.startswith(_PLACES) or _CACHE.search(path):
        return False
    program = ""
    with contextlib.suppress(OSError):  # ended in the meantime
        program = os.readlink(str(process / "exe"))
    return bool(_LIBRARY.search(path)) or program == f"{path} (deleted)"


def services() -> list[Replaced]:
    """Return what was replaced under each managed unit of the host; an empty list is reported as well."""
    # By the end of its control group's path, because systemd may not run the host at all.
    return [Replaced(unit, tuple(libraries(f"/{unit}"))) for unit in managed.managed()]
