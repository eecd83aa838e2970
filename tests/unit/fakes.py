# SPDX-License-Identifier: Apache-2.0
"""A host of tests, made where host code starts programs: one place, whichever module does it."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, NamedTuple, Self

import pytest
from ansible.module_utils.provision.host import commands, follow
from ansible.module_utils.provision.host.systemd import UnitState


@dataclass(frozen=True)
class Said:
    """What a program printed, and how it ended."""

    out: str = ""
    code: int = 0
    err: str = ""


Program = Callable[[Sequence[str]], Said]


class Programs:
    """Hold the programs of a host: each takes its arguments and returns what it says.

    A program that the test does not add is not installed, unless it is a shell or has a whole path, as what
    the test wrote to a file. `calls` lists what was started, in order.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, ...]] = []
        self._programs: dict[str, Program] = {}
        stand_in = SimpleNamespace(**{**vars(subprocess), "Popen": self._start})
        for module in (commands, follow):
            monkeypatch.setattr(module, "subprocess", stand_in)
        monkeypatch.setattr(shutil, "which", self.which)

    def add(self, name: str, program: Program | Said | str = "") -> None:
        """Install a program, or one that says the same whatever it is given."""
        said = Said(program) if isinstance(program, str) else program
        self._programs[name] = (lambda _: said) if isinstance(said, Said) else said

    def which(self, name: str) -> str | None:
        """Return the path of a program of this host, as `shutil.which` does."""
        return f"/usr/bin/{name}" if name in self._programs else None

    def _start(self, argv: Sequence[str], **options: Any) -> _Process | subprocess.Popen[str]:
        self.calls.append(tuple(argv))
        program = self._programs.get(argv[0])
        if program:
            return _Process(program(argv[1:]), merged=options["stderr"] == subprocess.STDOUT)
        if argv[0] in ("sh", "bash") or argv[0].startswith("/"):
            return subprocess.Popen(argv, **options)
        raise FileNotFoundError(argv[0])


class Answers(Programs):
    """Programs that answer by the beginning of their command line; all others end well and say nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.answers: dict[tuple[str, ...], Said] = {}

    @property
    def ran(self) -> list[str]:
        """Return every command line, in order."""
        return [" ".join(call) for call in self.calls]

    def answer(self, command: str, out: str = "", *, code: int = 0, err: str = "") -> None:
        """Answer command lines that begin like this; the longest beginning counts."""
        self.answers[tuple(command.split())] = Said(out, code, err)

    def _start(self, argv: Sequence[str], **options: Any) -> _Process:
        self.calls.append(tuple(argv))
        fitting = [command for command in self.answers if tuple(argv[: len(command)]) == command]
        said = self.answers[max(fitting, key=len)] if fitting else Said()
        return _Process(said, merged=options["stderr"] == subprocess.STDOUT)


class Started(NamedTuple):
    """How a transient unit was started: its name, its command and its properties."""

    unit: str
    argv: list[str]
    properties: dict[str, str]


class Systemd:
    """Hold the state of the one unit of a test; starting it makes it `after`, once `work` is done."""

    def __init__(self, programs: Programs) -> None:
        self.programs = programs
        self.state = UnitState()
        self.after = UnitState(active="active", invocation="new")
        self.work: Callable[[], object] = lambda: None
        self.refusals: list[str] = []
        self.journal: list[str] = []
        self.started: list[Started] = []
        self.calls: list[str] = []
        programs.add("systemctl", self.control)
        programs.add("systemd-run", self.run)
        programs.add("journalctl", lambda _: Said("\n".join(self.journal)))

    def control(self, argv: Sequence[str]) -> Said:
        """Show the unit, or note what is done with it."""
        if argv[0] == "show":
            return Said(shown(self.state))
        self.calls.append(" ".join(argv))
        if argv[0] in ("stop", "reset-failed"):
            self.state = replace(self.state, active="inactive", sub="dead")
        if argv[0] == "enable":
            self.state = replace(self.state, enabled=True, load="loaded")
        return Said()

    def run(self, argv: Sequence[str]) -> Said:
        """Start the unit unless it is to be refused."""
        if self.refusals:
            return Said(code=1, err=self.refusals.pop(0))
        options, command = argv[: argv.index("--")], argv[argv.index("--") + 1 :]
        unit = next(one for one in options if one.startswith("--unit="))[len("--unit=") : -len(".service")]
        pairs = (one.split("=", 2)[1:] for one in options if one.startswith("--property="))
        self.started.append(Started(unit, list(command), {key: value for key, value in pairs}))  # noqa: C416
        self.work()
        self.state = self.after
        return Said()


def shown(state: UnitState) -> str:
    """Return what `systemctl show` prints about a unit."""
    now = time.monotonic()
    values = {
        "LoadState": state.load,
        "ActiveState": state.active,
        "SubState": state.sub,
        "UnitFileState": "enabled" if state.enabled else "disabled",
        "Result": state.result,
        "ExecMainStatus": state.exit_status,
        "MainPID": state.main_pid,
        "NRestarts": state.restarts,
        "NeedDaemonReload": "yes" if state.needs_reload else "no",
        "InvocationID": state.invocation,
        "ActiveEnterTimestampMonotonic": round((now - state.active_seconds) * 1e6),
        "InactiveEnterTimestampMonotonic": round((now - state.ended_seconds) * 1e6),
        "ControlGroup": state.control_group,
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


class _Process:
    """Be a process that has ended."""

    def __init__(self, said: Said, *, merged: bool) -> None:
        self.returncode = said.code
        self._err = "" if merged else said.err
        self.stdout = io.StringIO(said.out + (said.err if merged else ""))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdout.close()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        assert timeout
        return self.stdout.read(), self._err


def script(main: Callable[[], None]) -> Said:
    """Run the body of a program that prints and exits, and return what it said."""
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            main()
    except SystemExit as end:
        told = isinstance(end.code, str)
        return Said(out.getvalue(), 1 if told else int(end.code or 0), f"{end.code}\n" if told else "")
    return Said(out.getvalue())
