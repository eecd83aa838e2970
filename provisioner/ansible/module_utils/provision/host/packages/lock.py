# SPDX-License-Identifier: Apache-2.0
"""Find out which process holds a lock of the package manager."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from ..paths import text_of

# struct flock of 64-bit Linux: type, whence, start, length, pid.
FLOCK = "hhqqi0q"


def lock_holder(path: Path) -> int:
    """Return the process that holds the POSIX lock on a file, 0 when it is free."""
    try:
        with path.open("r+b") as handle:
            request = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack(FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, request))
    except OSError:
        return 0
    return 0 if kind == fcntl.F_UNLCK else int(pid)


def pid_in(path: Path) -> int:
    """Return the running process that a pid file contains, 0 when there is none."""
    text = text_of(path).strip()
    return int(text) if text.isdigit() and Path(f"/proc/{text}").exists() else 0


def process_name(pid: int) -> str:
    """Return how a process is called."""
    command = text_of(Path(f"/proc/{pid}/cmdline")).split("\0")
    # The second argument of an interpreter is the program that it runs.
    names = [Path(part).name for part in command[:2] if part and not part.startswith("-")]
    return f"{' '.join(names)} (process {pid})" if names else f"process {pid}"
