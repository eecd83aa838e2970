# SPDX-License-Identifier: Apache-2.0
"""Define what a package manager must be able to do, and do what is the same for all of them."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterable, Mapping

from .. import commands, follow
from ..fault import Fault
from ..paths import text_of
from .advice import advice, cause_line

QUERY_SECONDS = 300
LOCK_PAUSE = 0.5
TAIL_LINES = 6
# struct flock of 64-bit Linux: type, whence, start, length, pid.
FLOCK = "hhqqi0q"


@dataclass(frozen=True)
class Allow:
    """Options of a transaction: what it may do to packages besides installing the requested ones."""

    older: bool = False
    held: bool = False
    removal: bool = False


NOTHING = Allow()


@dataclass(frozen=True)
class Changes:
    """Hold which packages a transaction would install or change, and which it would remove."""

    installed: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class User:
    """Describe who uses the package manager."""

    # Whose journal has all that the package manager says.
    unit: str = ""
    # What to do about failures, by cause, where the usual advice does not help.
    steps: Mapping[str, str] = field(default_factory=dict)
    # Disabled repositories that are used nevertheless, as far as the host has them.
    repositories: tuple[str, ...] = ()
    # Where a list of holds is shared with others: the line above this user's, at the end or the beginning.
    mark: str = ""
    first: bool = False


class PackageManager(ABC):
    """A package manager; its own file says how it is called and how its output is read."""

    program: str
    environment: tuple[str, ...]
    # A shell command that lists installed packages, in a form that `names_in` reads.
    listing: str
    # Shell commands that note the holds, and define `again`, which puts them back, where a change drops them.
    keep_holds = ""
    locks: tuple[Path, ...] = ()
    pid_files: tuple[Path, ...] = ()
    # What makes the options of a transaction that runs, is only shown, only shown from cached lists, or only
    # downloaded; and what the output of a simulation that failed contains.
    run_options: tuple[str, ...] = ()
    dry_options: tuple[str, ...]
    cached_options: tuple[str, ...]
    download_options: tuple[str, ...]
    failure_sign = ""
    # The command that finishes what an interrupted run has left, where the manager does not do so by itself.
    repair_command: tuple[str, ...] = ()
    # Whether a hold is on one version, which then need not be installed yet; else it is on a name.
    holds_versions = False
    # What finds the package of a file, and how one version of a package is written.
    owner_query: tuple[str, ...]
    version_form: str

    def __init__(self, user: User | None = None) -> None:
        self.user = user or User()

    @abstractmethod
    def install_command(self, specs: Iterable[str], allow: Allow, options: Iterable[str]) -> list[str]:
        """Return the command that installs packages."""

    @abstractmethod
    def remove_command(self, names: Iterable[str], allow: Allow, options: Iterable[str]) -> list[str]:
        """Return the command that removes packages and what needs them, and nothing else."""

    @abstractmethod
    def refresh_command(self, repository: str = "") -> list[str]:
        """Return the command that fetches the package lists, or those of one repository alone."""

    @abstractmethod
    def changes_in(self, said: str) -> Changes:
        """Return what a simulated transaction would change, by its output."""

    @abstractmethod
    def hold(self, words: Iterable[str], instead_of: Iterable[str] = ()) -> None:
        """Replace holds of this user by others."""

    def owns(self, path: Path) -> bool:
        """Return whether a file belongs to a package."""
        return commands.call(*self.owner_query, str(path)).returncode == 0

    def exactly(self, name: str, version: str) -> str:
        """Return what to install for one version of a package."""
        return self.version_form.format(name, version)

    def interrupted(self) -> bool:
        """Return whether an earlier run was interrupted, and must be repaired."""
        return False

    def release(self, words: Iterable[str]) -> None:
        """Remove holds."""
        self.hold((), words)

    def hold_again(self, words: Iterable[str]) -> None:
        """Put back holds that a change has dropped, where it does that."""
        del words

    def repair(self) -> None:
        """Finish what an interrupted run has left."""
        if self.interrupted():
            self.run(list(self.repair_command), "finishing an interrupted run of the package manager")

    def refresh(self, repository: str = "", *, strict: bool = True) -> None:
        """Fetch the package lists, or those of one repository alone."""
        code, said = self.attempt(self.refresh_command(repository))
        if code and strict:
            raise self.failure(f"fetching the package lists failed (exit {code}):\n{said}", said)

    def simulate(self, specs: Iterable[str], allow: Allow = NOTHING, *, cached: bool = False) -> Changes:
        """Return what installing packages would change; raises Fault where they cannot be installed."""
        words = list(specs)
        options = self.cached_options if cached else self.dry_options
        done = commands.call(*self.install_command(words, allow, options), seconds=QUERY_SECONDS)
        said = done.stdout + done.stderr
        if done.returncode and self.failure_sign in said:
            tail = "\n".join(said.strip().splitlines()[-TAIL_LINES:])
            raise self.failure(f"{' '.join(words)} cannot be installed:\n{tail}", said)
        return self.changes_in(said)

    def install(self, specs: Iterable[str], what: str, allow: Allow = NOTHING) -> None:
        """Install packages; a failure is reported as one of `what`."""
        self.run(self.install_command(specs, allow, self.run_options), what)

    def download(self, specs: Iterable[str], what: str, allow: Allow = NOTHING) -> None:
        """Download packages without installing them."""
        self.run(self.install_command(specs, allow, self.download_options), what)

    def remove(self, names: Iterable[str], what: str, allow: Allow = NOTHING) -> None:
        """Remove packages and what needs them."""
        self.run(self.remove_command(sorted(names), allow, self.run_options), what)

    def run(self, argv: list[str], what: str) -> None:
        """Run a command of the package manager to its end."""
        code, said = self.attempt(argv)
        if code:
            raise self.failure(f"{what} failed (exit {code}):\n{said}", said)

    def attempt(self, argv: list[str]) -> tuple[int, str]:
        """Run a command to its end, and return its exit status and its last lines."""
        own = dict(pair.split("=", 1) for pair in self.environment)
        done = follow.run(argv, follow.environment(**own))
        return done.code, done.tail

    def query(self, *argv: str) -> str:
        """Return what a query prints, whatever its exit status."""
        return commands.call(*argv, seconds=QUERY_SECONDS).stdout

    def failure(self, message: str, said: str) -> Fault:
        """Return the fault of a command, with what to do about its output."""
        return Fault(message, advice(said, self.user.unit, self.user.steps), cause=cause_line(said))

    def lock_owner(self) -> str:
        """Return which process holds the package manager's lock, or nothing."""
        holders = [*map(lock_holder, self.locks), *map(pid_in, self.pid_files)]
        return next((process_name(pid) for pid in holders if pid), "")

    def await_lock(self, seconds: float, report: Callable[[str], None] = lambda _: None) -> str:
        """Wait for the lock, and return which process still holds it after so many seconds."""
        deadline = time.monotonic() + seconds
        while (owner := self.lock_owner()) and time.monotonic() <= deadline:
            report(f"waiting for {owner}")
            time.sleep(LOCK_PAUSE)
        return owner

    def require_lock(self, seconds: float, report: Callable[[str], None]) -> None:
        """Wait for the lock; raises Fault when that takes too long."""
        owner = self.await_lock(seconds, report)
        if owner:
            raise held_too_long(owner, seconds)


def held_too_long(owner: str, seconds: float) -> Fault:
    """Return the fault of a lock that is not released."""
    text = f"{owner} has held the package manager's lock for {seconds:.0f} s"
    return Fault(text, "wait for it to end or stop it, then apply again")


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
