# SPDX-License-Identifier: Apache-2.0
"""Let one run at a time work on an inventory, and stop the Ansible that a killed run left behind."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from provisioner import settings
from provisioner.errors import BusyError

# Ansible passes SIGTERM on to its workers; those that are left after this time are killed.
_TERM_SECONDS = 5.0
_KILL_SECONDS = 15.0
_POLL_SECONDS = 0.1


class Lock:
    """Hold an inventory for this process and for the Ansible that it starts."""

    def __init__(self, file: IO[str], run_id: str) -> None:
        self._file = file
        self._run_id = run_id
        self.write(0)

    @property
    def descriptor(self) -> int:
        """Return the descriptor that the child must inherit, so that an orphan still holds the inventory."""
        return self._file.fileno()

    def write(self, group: int) -> None:
        """Record the process group of the Ansible that runs under this lock."""
        self._file.seek(0)
        self._file.truncate()
        json.dump({"run": self._run_id, "pid": os.getpid(), "group": group}, self._file)
        self._file.flush()


@contextlib.contextmanager
def hold(source: str, run_id: str) -> Iterator[Lock]:
    """Hold the inventory at `source`; raises BusyError, which gives the run that holds it."""
    folder = settings.state_home() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(str(Path(source).resolve()).encode()).hexdigest()[:16]
    with (folder / f"{name}.lock").open("a+", encoding="utf-8") as file:
        if not _acquire(file):
            _evict_orphan(file, source)
        yield Lock(file, run_id)


def _acquire(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _evict_orphan(file: IO[str], source: str) -> None:
    """Stop the Ansible of a run that was killed; a run that is alive keeps the inventory."""
    file.seek(0)
    try:
        holder = json.load(file)
    except ValueError:
        holder = {"run": "another run", "pid": 0, "group": 0}
    if not holder["group"] or _is_alive(holder["pid"]):
        raise BusyError(
            f"{source} is in use by run {holder['run']} (process {holder['pid']})",
            "wait for it to end, or stop it with Ctrl-C, and run this again",
        )
    group = holder["group"]
    for stop, seconds in ((signal.SIGTERM, _TERM_SECONDS), (signal.SIGKILL, _KILL_SECONDS)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, stop)
        if _acquire_within(file, seconds):
            return
    raise BusyError(
        f"run {holder['run']} was killed, and its process group {group} does not end",
        f"see what it waits for with `ps -o pid,stat,cmd -g {group}`",
    )


def _acquire_within(file: IO[str], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not _acquire(file):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
