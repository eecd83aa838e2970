# SPDX-License-Identifier: Apache-2.0
"""Run a playbook as one Ansible process and pass on its events; owns signals, secrets and the lock."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self

from provisioner import content, settings
from provisioner.errors import Interrupted
from provisioner.runs import events, locks
from provisioner.runs.events import Event
from provisioner.runs.rundir import RunDir

# Ansible's modules end at once; long work on the hosts continues in its own units.
_GRACE_SECONDS = 10.0
# Time for lookups of the inventory, which may query a secret store.
_LOCAL_SECONDS = 300


@dataclass(frozen=True)
class Secrets:
    """Passwords that the user typed; Ansible gets them in private files, which are removed after the run."""

    connection_password: str | None = None
    become_password: str | None = None
    vault_password: str | None = None


@dataclass(frozen=True)
class Request:
    """Describe one run of a playbook, in Ansible's terms; `variables` are set by the command line itself."""

    playbook: str
    inventory: str
    phases: tuple[str, ...] = ()
    limit: str | None = None
    extra_vars: tuple[str, ...] = ()
    check: bool = False
    diff: bool = False
    forks: int | None = None
    verbosity: int = 0
    vault_password_files: tuple[str, ...] = ()
    variables: tuple[tuple[str, Any], ...] = ()
    secrets: Secrets = Secrets()

    def argv(self) -> list[str]:
        """Return the command that runs it; it contains no secret."""
        playbook = str(content.playbook(self.playbook))
        argv = [sys.executable, "-m", "ansible", "playbook", playbook, "-i", self.inventory]
        argv += self.selection()
        if self.variables:
            argv += ["-e", json.dumps(dict(self.variables))]
        argv += ["--check"] * self.check + ["--diff"] * (self.diff or self.check)
        if self.forks:
            argv += ["--forks", str(self.forks)]
        argv += inventory_arguments(self.vault_password_files)
        return argv + ["-" + "v" * self.verbosity] * bool(self.verbosity)

    def tags(self) -> dict[str, str]:
        """Return the environment that chooses phases; to what it says, the option --tags would only add."""
        return {"ANSIBLE_RUN_TAGS": ",".join(self.phases)} if self.phases else {}

    def selection(self) -> list[str]:
        """Return the arguments that choose hosts and set variables."""
        argv = ["--limit", self.limit] if self.limit else []
        return argv + [argument for value in self.extra_vars for argument in ("-e", value)]


@dataclass(frozen=True)
class Outcome:
    """How Ansible ended: its exit code, and whether the user stopped it."""

    returncode: int
    interrupted: bool


def execute(request: Request, run_dir: RunDir, on_event: Callable[[Event], None]) -> Outcome:
    """Run `request` to its end, passing each event to `on_event` as it happens.

    Raises BusyError when another run holds the inventory. Ctrl-C ends Ansible, then this returns.
    """
    settings.known_hosts().parent.mkdir(parents=True, exist_ok=True)
    for file in (run_dir.events, run_dir.log):
        file.touch(mode=0o600)
    with (
        locks.hold(request.inventory, run_dir.id) as lock,
        password_files(request.secrets) as passwords,
        run_dir.log.open("ab") as log,
    ):
        process = subprocess.Popen(
            [*request.argv(), *passwords],
            env={**settings.environment(run_dir.events), **request.tags()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock.descriptor,),
        )
        lock.write(process.pid)
        with _Stopper(process) as stopper:
            for event in events.follow(run_dir.events, lambda: process.poll() is not None):
                on_event(event)
        return Outcome(process.wait(), stopper.interrupted)


def local(action: str, request: Request, extra: Mapping[str, str]) -> str:
    """Run one of our action plugins for every host on this machine; return what Ansible printed.

    It contacts no host, so it takes no lock and keeps no run folder. `extra` is added to the environment.
    """
    settings.known_hosts().parent.mkdir(parents=True, exist_ok=True)
    argv = [
        sys.executable,
        "-m",
        "ansible",
        "adhoc",
        "all",
        "--become",
        "-i",
        request.inventory,
        "-m",
        action,
    ]
    with password_files(request.secrets) as passwords:
        done = subprocess.run(
            [*argv, *request.selection(), *inventory_arguments(request.vault_password_files), *passwords],
            env={**settings.environment(Path(os.devnull)), **extra},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LOCAL_SECONDS,
            check=False,
        )
    return done.stdout


@contextlib.contextmanager
def password_files(secrets: Secrets) -> Iterator[list[str]]:
    """Write the passwords to files that only this user can read, and remove them afterwards."""
    given = {
        "--connection-password-file": secrets.connection_password,
        "--become-password-file": secrets.become_password,
        "--vault-password-file": secrets.vault_password,
    }
    if not any(given.values()):
        yield []
        return
    base = os.environ.get("XDG_RUNTIME_DIR")
    with tempfile.TemporaryDirectory(
        prefix="provision-", dir=base if base and Path(base).is_dir() else None
    ) as folder:
        argv: list[str] = []
        for option, password in given.items():
            if password is not None:
                path = Path(folder) / option.strip("-")
                path.touch(mode=0o600)
                path.write_text(password)
                argv += [option, str(path)]
        yield argv


class _Stopper:
    """Pass the first Ctrl-C on to Ansible, give it time to end, and kill it at the second one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._before: dict[int, Any] = {}
        self._timer: threading.Timer | None = None
        self.interrupted = False

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._timer:
            self._timer.cancel()
        if self._process.poll() is None:
            self._kill()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if self.interrupted:
            self._kill()
            return
        self.interrupted = True
        # Ansible passes SIGTERM on to its workers and ends; SIGINT would only skip the current task in 2.19.
        self._send(signal.SIGTERM)
        self._timer = threading.Timer(_GRACE_SECONDS, self._kill)
        self._timer.daemon = True
        self._timer.start()

    def _kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def raise_if_interrupted(outcome: Outcome) -> None:
    """Raise Interrupted when the user stopped the run."""
    if outcome.interrupted:
        raise Interrupted(
            "stopped; work that has started on a host continues there",
            "run the same command again: it picks up that work and finishes the rest",
        )


def inventory_arguments(vault_password_files: Sequence[str]) -> list[str]:
    """Return the options by which `ansible-inventory` reads encrypted variable files."""
    return [argument for path in vault_password_files for argument in ("--vault-password-file", path)]
