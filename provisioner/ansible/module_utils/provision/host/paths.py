# SPDX-License-Identifier: Apache-2.0
"""Inspect paths: how much space there is, and who uses a directory."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

UNITS = Path("/etc/systemd/system")


def existing_parent(path: Path) -> Path:
    """Return the nearest directory above that exists."""
    return path if path.exists() else existing_parent(path.parent)


def free_bytes(path: Path) -> int:
    """Return the free space of the file system that holds or will hold the path."""
    return shutil.disk_usage(str(existing_parent(path))).free


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
    needle = re.compile(re.escape(str(directory).encode()) + rb"(?![\w.+-])")
    texts = [*units.glob("*.service"), *units.glob("*.service.d/*.conf"), *processes.glob("[0-9]*/cmdline")]
    return any(needle.search(_bytes_of(text)) for text in texts)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        # A process that ended, or a dangling link: neither can use a directory.
        return b""


def text_of(path: Path) -> str:
    """Return a file's text; empty if it is missing or cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
