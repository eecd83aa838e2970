# SPDX-License-Identifier: Apache-2.0
"""A host of tests, made where host code starts programs: one place, whichever module does it."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Self

import pytest
from ansible.module_utils.provision.host import commands, follow


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
        if argv[0] == "sh" or argv[0].startswith("/"):
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
