# SPDX-License-Identifier: Apache-2.0
"""Work on one host over OpenSSH: run a command, follow one, connect to a port; all of it limited in time."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from provisioner import settings
from provisioner.errors import HostError
from provisioner.plain import one_line
from provisioner.remote import login, session, shell
from provisioner.remote.reach import Way
from provisioner.remote.session import Session
from provisioner.remote.shell import Marks
from provisioner.runs import failures

LOGIN_SECONDS = 30.0
# The connection is kept for the next command, and ends by itself where this process could not end it.
_KEPT_SECONDS = 60


@dataclass(frozen=True)
class Result:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str
    seconds: float


@dataclass(frozen=True)
class Command:
    """Describe a command: text for the login shell, or a script for sh as root; `data` is its input."""

    text: str
    as_root: bool = False
    data: bytes = field(default=b"", repr=False)


class Remote:
    """The connection to one host; every method raises HostError with the reason and the next step."""

    def __init__(self, way: Way, seconds: float = LOGIN_SECONDS) -> None:
        self.way = way
        self._seconds = seconds
        self._variables = settings.ssh_environment()
        self._socket = Path(self._variables["PROVISION_SSH_FILES"]) / secrets.token_hex(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Log in, unless that is done; further commands use the same connection."""
        if not self._socket.exists():
            result = self.run(Command("true"))
            if result.code:
                raise login.explain_shell(result.out + result.err, result.code)

    def close(self) -> None:
        """Close the connection."""
        if self._socket.exists():
            argv = [
                self._variables["PROVISION_SSH"],
                "-F",
                "none",
                "-S",
                str(self._socket),
                "-O",
                "exit",
                "--",
                "host",
            ]
            session.errors(argv, os.environ, self._seconds)

    def run(self, command: Command, seconds: float = 30.0) -> Result:
        """Run a command to its end."""
        began = time.monotonic()
        with self._started(command, seconds) as (talk, mark, deadline):
            try:
                talk.rest(deadline)
            except TimeoutError as error:
                step = "check its load and disks, or set a longer --timeout; the work may still be running"
                raise HostError(f"no result within {seconds:g} s", step) from error
            code = self._code(talk)
            err = _behind(talk.err, mark)
        return Result(code, _text(talk.out), _text(err), time.monotonic() - began)

    def lines(self, command: Command) -> Iterator[str]:
        """Run a command and yield the lines of both its outputs while it runs; raises when it fails."""
        last = ""
        with self._started(command, self._seconds) as (talk, mark, _):
            for line in _lines(talk, mark):
                last = line
                yield line
            code = self._code(talk)
        if code:
            raise HostError(
                f"the command failed with exit code {code}: {one_line(last)}", failures.hint(last)
            )

    @contextlib.contextmanager
    def tunnel(self, address: str, port: int) -> Iterator[socket.socket]:
        """Give a stream to a port on the host's side; no port is opened on this machine.

        Whether the port answers shows at the first use, and an error of that time is explained here.
        """
        self.open()
        target = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        with session.stream(self._argv("-W", target), self._environment()) as (stream, code):
            try:
                yield stream
            except Exception as error:
                if code() == login.SSH_FAILED:
                    raise self._no_tunnel(target) from error
                raise

    def _no_tunnel(self, target: str) -> HostError:
        """Return why there is no tunnel: ssh gives the reason only in a connection for it alone."""
        said = self._reason("-W", target)
        if "administratively prohibited" in said:
            step = "allow it: `AllowTcpForwarding local` in the host's sshd_config"
            return HostError("its sshd does not allow tunnels to its ports", step)
        if "open failed" in said:
            return HostError(f"nothing listens on {target} on the host", None)
        return login.explain(said, self.way)

    def _reason(self, *options: str, command: str = "") -> str:
        """Return why ssh fails, from another connection: one that is kept hides what jump hosts say."""
        with login.asked(self.way) as asked:
            argv = self._argv(*options, command=command, alone=True)
            return _text(session.errors(argv, {**self._environment(), **asked}, self._seconds))

    @contextlib.contextmanager
    def _started(self, command: Command, seconds: float) -> Iterator[tuple[Session, bytes, float]]:
        """Start a command, up to its own output; give the mark before that, and when it must end."""
        if self.way.trouble:
            raise HostError(self.way.trouble, "fix this host's connection variables in the inventory")
        marks = Marks()
        text = shell.scripted() if command.as_root else shell.marked(command.text, marks.login)
        with contextlib.ExitStack() as stack:
            with login.asked(self.way) as asked:
                environment = {**self._environment(), **asked}
                talk = stack.enter_context(Session(self._argv(command=text), environment))
                if not command.as_root:
                    talk.send(command.data, last=True)
                self._log_in(talk, marks, as_root=command.as_root)
            deadline = time.monotonic() + seconds
            if command.as_root:
                self._become_root(talk, marks, deadline, seconds)
                talk.send(shell.line(command.text) + command.data, last=True)
            yield talk, marks.last(as_root=command.as_root), deadline

    def _log_in(self, talk: Session, marks: Marks, *, as_root: bool) -> None:
        """Wait for the end of the login, whatever it prints; raises HostError."""
        if as_root:
            with_password = bool(self.way.become_password)
            become = shell.become_root(self.way.become_exe, marks, with_password=with_password)
            talk.send(shell.line(become))
        try:
            logged_in = talk.until(marks.login.encode(), time.monotonic() + self._seconds)
        except TimeoutError as error:
            hop = self.way.hops[-1]
            late = f"{_text(talk.err)}\nconnect to host {hop.host} port {hop.port}: Connection timed out"
            raise login.explain(late, self.way) from error
        if logged_in:
            return
        code = talk.code()
        if code == login.SSH_FAILED:
            last = self.way.hops[-1]
            is_direct = len(self.way.hops) == 1 and not last.proxy_command
            raise login.explain(_text(talk.err) if is_direct else self._reason(command="true"), self.way)
        if as_root:
            raise login.explain_shell(_text(talk.out + talk.err), code)
        # The login shell refused the command itself, such as one with a quote that does not end.

    def _become_root(self, talk: Session, marks: Marks, deadline: float, seconds: float) -> None:
        """Wait until root is reached, and answer the question for a password; raises HostError."""
        user = self.way.hops[-1].user
        answered = False

        def answer(said: bytes) -> None:
            nonlocal answered
            asked = said.count(marks.prompt.encode())
            if asked > 1:
                raise shell.wrong_password(user)
            if asked and not answered:
                answered = True
                talk.send(f"{self.way.become_password}\n".encode())

        try:
            is_root = talk.until(marks.root.encode(), deadline, answer)
        except TimeoutError as error:
            reason = f"{failures.BECOME_SLOW} after {seconds:g} s"
            raise HostError(reason, failures.SUDO_WAITS) from error
        if not is_root:
            self._code(talk)
            said = _behind(talk.err, marks.last(as_root=False)) + talk.out
            raise shell.explain_root(_text(said), user)

    def _code(self, talk: Session) -> int:
        """Return the exit code of a command; raises HostError where it is that of a lost connection."""
        code = talk.code()
        if code == login.SSH_FAILED and not self._socket.exists():
            raise HostError(*failures.explain("Connection closed", self.way.host))
        return code

    def _argv(self, *options: str, command: str = "", alone: bool = False) -> list[str]:
        """Return the arguments of ssh; those before the inventory's go before them, and -S and -T behind."""
        shared = "no" if alone else "auto"
        own = [
            f"LogLevel={'INFO' if alone else 'ERROR'}",
            f"ControlMaster={shared}",
            f"ControlPersist={_KEPT_SECONDS}",
        ]
        program, *given = self.way.ssh
        argv = [program, *(word for option in own for word in ("-o", option)), *given]
        argv += ["-S", "none" if alone else str(self._socket), "-T", *options, "--", self.way.address]
        return [*argv, command] if command else argv

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self._variables}


def _lines(talk: Session, mark: bytes) -> Iterator[str]:
    """Yield the lines of both outputs as they arrive, errors from the mark on."""
    rest = {False: talk.out, True: talk.err}
    seen = False
    for is_error, piece in itertools.chain([(False, b""), (True, b"")], talk.pieces(None)):
        rest[is_error] += piece
        if is_error and not seen:
            seen = mark in rest[True]
            if not seen:
                continue
            rest[True] = _behind(rest[True], mark)
        *whole, rest[is_error] = rest[is_error].split(b"\n")
        yield from map(_text, whole)
    yield from (_text(left) for left in rest.values() if left)


def _behind(output: bytes, mark: bytes) -> bytes:
    """Return what is behind the mark, or all where the mark is missing."""
    return output.rpartition(mark)[2]


def _text(output: bytes) -> str:
    return output.decode(errors="replace")
