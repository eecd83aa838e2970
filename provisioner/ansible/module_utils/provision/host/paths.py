# SPDX-License-Identifier: Apache-2.0
"""Inspect paths: how much space there is, and who uses a directory."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import Mapping, NamedTuple

GB = 1e9
UNITS = Path("/etc/systemd/system")


class Shortage(NamedTuple):
    """Hold a directory whose file system lacks free space: what is needed besides the reserve, and so on."""

    place: Path
    needed: int
    free: int
    lacking: int


def existing_parent(path: Path) -> Path:
    """Return the nearest directory above that exists."""
    return path if path.exists() else existing_parent(path.parent)


def device(path: Path) -> int:
    """Return the file system that holds or will hold the path."""
    return existing_parent(path).stat().st_dev


def free_bytes(path: Path) -> int:
    """Return the free space of the file system that holds or will hold the path."""
    return shutil.disk_usage(str(existing_parent(path))).free


def shortage(needs: Mapping[Path, int], reserve: int) -> Shortage | None:
    """Return a file system that cannot hold the bytes that all its paths need besides the reserve."""
    for path in needs:
        needed = sum(size for other, size in needs.items() if device(other) == device(path))
        free = free_bytes(path)
        if free < needed + reserve:
            return Shortage(existing_parent(path), needed, free, needed + reserve - free)
    return None


def sync(path: Path) -> None:
    """Write a file or directory through to the disk."""
    descriptor = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def in_use(directory: Path, units: Path = UNITS, processes: Path = Path("/proc")) -> bool:
    """Return whether a unit file or a running process refers to the directory."""
    # A longer name that begins like this one is another directory.
    needle = re.compile(re.escape(str(directory)) + r"(?![\w.+-])")
    texts = [*units.glob("*.service"), *units.glob("*.service.d/*.conf"), *processes.glob("[0-9]*/cmdline")]
    return any(needle.search(text_of(path)) for path in texts)


def text_of(path: Path) -> str:
    """Return a file's text; empty if it is missing or cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def open_files(process: Path) -> list[str]:
    """Return what a process, by its folder in /proc, has open; empty if it has ended or is out of reach."""
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:
        return []
    found = []
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # closed in the meantime
            found.append(os.readlink(str(descriptor)))
    return found
