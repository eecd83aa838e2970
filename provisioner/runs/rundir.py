# SPDX-License-Identifier: Apache-2.0
"""Keep one folder for each run: the plan, the events, Ansible's log and the report.

They are in `$XDG_STATE_HOME/provision/runs/` (else `~/.local/state/…`), readable by their owner only. Which
of them are kept is decided by `retention`.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from provisioner import settings
from provisioner.errors import ProvisionError, UsageError

NAME = re.compile(r"\d{8}-\d{9}-[0-9a-f]{4}")


@dataclass(frozen=True)
class RunDir:
    """The files of one run."""

    path: Path

    @property
    def id(self) -> str:
        """Return the run's name; names sort by time."""
        return self.path.name

    @property
    def plan(self) -> Path:
        """Return the path of the plan."""
        return self.path / "plan.json"

    @property
    def events(self) -> Path:
        """Return the path of the events, one JSON line each."""
        return self.path / "events.jsonl"

    @property
    def log(self) -> Path:
        """Return the path of Ansible's own output."""
        return self.path / "ansible.log"

    @property
    def report(self) -> Path:
        """Return the path of the report."""
        return self.path / "report.json"

    @property
    def started(self) -> datetime:
        """Return when the run began, from its name."""
        return datetime.strptime(self.id[:18] + "000", "%Y%m%d-%H%M%S%f").replace(tzinfo=UTC)


def write(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or nothing; only its owner may read it."""
    half = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    except BaseException:
        half.unlink(missing_ok=True)
        raise


def root() -> Path:
    """Return the folder of all runs."""
    return settings.state_home() / "runs"


def create() -> RunDir:
    """Create the folder of a new run."""
    folder = root()
    made = RunDir(folder / f"{_stamp(folder)}-{secrets.token_hex(2)}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made.path.mkdir(mode=0o700)
    except OSError as error:
        raise ProvisionError(
            f"cannot create a run folder in {folder}: {error.strerror}",
            "set XDG_STATE_HOME to a folder that you can write to, with free space",
        ) from error
    return made


def _stamp(folder: Path) -> str:
    """Return the time as no other run has it: names sort by time, and runs of one millisecond would not."""
    while True:
        now = datetime.now(UTC)
        stamp = f"{now:%Y%m%d-%H%M%S}{now.microsecond // 1000:03d}"
        if not any(folder.glob(f"{stamp}-*")):
            return stamp
        time.sleep(0.001)


def runs() -> tuple[RunDir, ...]:
    """Return all runs, the newest first."""
    folder = root()
    if not folder.is_dir():
        return ()
    found = [path for path in folder.iterdir() if NAME.fullmatch(path.name) and not path.is_symlink()]
    return tuple(RunDir(path) for path in sorted(found, reverse=True) if path.is_dir())


def find(name: str = "latest") -> RunDir:
    """Return the run of this name, the only one whose name contains this text, or the latest."""
    known = runs()
    if not known:
        raise UsageError(f"there are no runs in {root()}", "run provision apply first")
    if name == "latest":
        return known[0]
    fitting = [run for run in known if name in run.id]
    if len(fitting) != 1:
        count = "no run" if not fitting else f"{len(fitting)} runs"
        raise UsageError(f"{count} with a name that contains {name!r}", "see provision runs list")
    return fitting[0]
