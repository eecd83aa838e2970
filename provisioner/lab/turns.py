# SPDX-License-Identifier: Apache-2.0
"""Let lab commands that run at the same time on this machine take turns where they must."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from provisioner.errors import BusyError
from provisioner.lab import controller
from provisioner.lab.report import Say

# The longest time to make the hosts of a lab, and to make an image or an archive.
HOSTS_SECONDS = 600
MAKING_SECONDS = 3600
PAUSE = 0.2


def silent(_: str) -> None:
    """Print nothing, where waiting takes too little time for a message."""


@contextmanager
def alone(name: str, say: Say = silent, *, seconds: float = MAKING_SECONDS) -> Iterator[None]:
    """Hold a lock by name while no one else does; raises BusyError after so many seconds."""
    with _opened(name) as file:
        _wait(file, fcntl.LOCK_EX, say, seconds)
        yield


@contextmanager
def together(name: str, say: Say) -> Iterator[None]:
    """Hold a lock by name with others who do the same, while no one has it alone; raises BusyError late."""
    with _opened(name) as file:
        _wait(file, fcntl.LOCK_SH, say, MAKING_SECONDS)
        yield


def joined(name: str) -> IO[str]:
    """Return a file that holds a lock together with others until it is closed."""
    file = _opened(name)
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def is_free(name: str) -> bool:
    """Return whether no one holds a lock."""
    with _opened(name) as file:
        return _taken(file, fcntl.LOCK_EX)


def _opened(name: str) -> IO[str]:
    folder = controller.runtime_dir()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return (folder / f"{name}.lock").open("w")


def _wait(file: IO[str], kind: int, say: Say, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    told = False
    while not _taken(file, kind):
        minutes = f"{seconds / 60:.0f} minutes"
        if time.monotonic() > deadline:
            late = f"another lab command has been running for more than {minutes}"
            raise BusyError(late, "check whether it hangs; wait until it has ended")
        if not told:
            say(f"waiting for another lab command to end, {minutes} at most")
            told = True
        time.sleep(PAUSE)


def _taken(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
