# SPDX-License-Identifier: Apache-2.0
"""Inspect paths: how much space there is, and who uses a directory; remove what is no longer used."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import shutil
from pathlib import Path
from typing import Any, Callable, Iterable

from .fault import Fault

GB = 1e9
LOG_LINES = 15
UNITS = Path("/etc/systemd/system")


def existing_parent(path: Path) -> Path:
    """Return the nearest directory above that exists."""
    return path if path.exists() else existing_parent(path.parent)


def free_bytes(path: Path) -> int:
    """Return the free space of the file system that holds or will hold the path."""
    return shutil.disk_usage(str(existing_parent(path))).free


def device(path: Path) -> int:
    """Return the file system that holds or will hold the path."""
    return existing_parent(path).stat().st_dev


def require_room(what: str, needs: Iterable[tuple[Path, int]], reserve: int = 0, advice: str = "") -> None:
    """Refuse what cannot fit: sizes on one file system add up, and each has to keep its reserve."""
    sums: dict[int, tuple[Path, int]] = {}
    for path, size in needs:
        place, before = sums.get(device(path), (existing_parent(path), 0))
        sums[device(path)] = (place, before + size)
    kept = f" plus {reserve / GB:.2f} GB in reserve" if reserve else ""
    for place, size in sums.values():
        free = free_bytes(place)
        if free < size + reserve:
            raise Fault(
                f"not enough disk for {what}: {place} has {free / GB:.2f} GB free, and "
                f"{size / GB:.2f} GB{kept} are needed there",
                f"free {(size + reserve - free) / GB:.2f} GB on the file system of {place}{advice}, "
                "then apply again",
            )


def remove(path: Path, marker: str) -> None:
    """Remove a file or directory; its marker goes first, so that half of it never counts as complete."""
    if path.is_dir() and not path.is_symlink():
        (path / marker).unlink(missing_ok=True)
        shutil.rmtree(str(path))
    else:
        path.unlink(missing_ok=True)


def drop_empty(*folders: Path) -> None:
    """Remove those folders that are empty, one after the other."""
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def name_of(look_up: Callable[[int], Any], number: int) -> str:
    """Return the name of a user or group, or its number if it has none."""
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)


def owner_of(found: os.stat_result) -> str:
    """Return the owner and the group of a file."""
    return owner_name(found.st_uid, found.st_gid)


def owner_name(user: int, group: int) -> str:
    """Return a user and a group by their names, or by their numbers where they have none."""
    return f"{name_of(pwd.getpwuid, user)}:{name_of(grp.getgrgid, group)}"


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


def last_lines(path: Path, errors: str = "") -> str:
    """Return the end of a log, of its errors alone where a line of it matches that pattern."""
    lines = text_of(path).splitlines()
    matching = [line for line in lines if errors and re.search(errors, line)]
    return "\n".join((matching or lines)[-LOG_LINES:])


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
