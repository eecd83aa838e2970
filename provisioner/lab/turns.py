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

# As long as making the hosts of a lab may take, and as making an image or an archive may.
HOSTS_SECONDS = 600
MAKING_SECONDS = 3600
PAUSE = 0.2


def silent(_: str) -> None:
    """Say nothing, where waiting takes no time worth a word."""


@contextmanager
def alone(name: str, say: Say = silent, *, seconds: float = MAKING_SECONDS) -> Iterator[None]:
    """Hold a lock by name while nobody else does; raises BusyError after so many seconds."""
    with _opened(name) as file:
        _wait(file, fcntl.LOCK_EX, say, seconds)
        yield


@contextmanager
def together(name: str, say: Say) -> Iterator[None]:
    """Hold a lock by name with others who do the same, while nobody has it alone; raises BusyError late."""
    with _opened(name) as file:
        _wait(file, fcntl.LOCK_SH, say, MAKING_SECONDS)
        yield


def joined(name: str) -> IO[str]:
    """Return a file that holds a lock together with others until it is closed."""
    file = _opened(name)
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def is_free(name: str) -> bool:
    """Tell whether nobody holds a lock."""
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
            late = f"another lab command has been at work for more than {minutes}"
            raise BusyError(late, "see whether it hangs; wait until it has ended")
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
