# SPDX-License-Identifier: Apache-2.0
"""Talk to one ssh process: send what it reads, and read both its outputs, limited in time."""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import socket
import subprocess
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import IO, Self, cast

_CHUNK = 1 << 15
_WAIT_SECONDS = 0.5
_LAST_SECONDS = 0.02
_END_SECONDS = 5.0
_NOTICE_SECONDS = 0.5

_running: weakref.WeakSet[subprocess.Popen[bytes]] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """End the commands of threads that this process does not wait for, as at Ctrl-C."""
    for process in _running:
        if process.poll() is None:
            process.kill()


# Is called with both outputs as far as they are known, after each piece of them.
Look = Callable[[bytes], None]


class Session:
    """One ssh process and what it has printed so far: output, and errors of ssh and of the command."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        # Without a terminal, so that ssh asks nothing there.
        self._process = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        _running.add(self._process)
        self.out = b""
        self.err = b""
        self._pending = b""
        self._ends = False
        self._selector = selectors.DefaultSelector()
        self._stdin, *outputs = (
            cast("IO[bytes]", stream)
            for stream in (self._process.stdin, self._process.stdout, self._process.stderr)
        )
        for stream, is_error in zip(outputs, (False, True), strict=True):
            self._selector.register(stream, selectors.EVENT_READ, is_error)
        os.set_blocking(self._stdin.fileno(), False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._selector.close()
        if self._process.poll() is None:
            self._process.kill()
        with contextlib.suppress(OSError):
            self._process.__exit__(kind, None, trace)

    def send(self, data: bytes, *, last: bool = False) -> None:
        """Send data to the command; after the last, its standard input ends."""
        self._pending += data
        self._ends = self._ends or last
        if not self._stdin.closed and self._stdin not in self._selector.get_map():
            self._selector.register(self._stdin, selectors.EVENT_WRITE)

    def pieces(self, deadline: float | None) -> Iterator[tuple[bool, bytes]]:
        """Yield what arrives, and whether it is an error, until both outputs end; raises TimeoutError."""
        while outputs := {key.data for key in self._selector.get_map().values()} - {None}:
            left = _WAIT_SECONDS if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            # The ssh that stays in the background for later commands keeps its errors open.
            ready = self._selector.select(min(left, _WAIT_SECONDS if False in outputs else _LAST_SECONDS))
            if not ready and self._process.poll() is not None:
                return
            for key, _ in ready:
                if key.data is None:
                    self._push()
                elif chunk := os.read(key.fd, _CHUNK):
                    yield key.data, chunk
                else:
                    self._selector.unregister(key.fileobj)

    def until(self, mark: bytes, deadline: float, look: Look | None = None) -> bool:
        """Read up to the line that is the mark; return False if the process ended before it."""
        mark += b"\n"
        if mark not in self.out:
            for is_error, chunk in self.pieces(deadline):
                self._keep(is_error, chunk)
                if look is not None:
                    look(self.out + self.err)
                if mark in self.out:
                    break
        found = mark in self.out
        if found:
            self.out = self.out.partition(mark)[2]
        return found

    def rest(self, deadline: float | None) -> None:
        """Read both outputs to their end."""
        for is_error, chunk in self.pieces(deadline):
            self._keep(is_error, chunk)

    def code(self) -> int:
        """Return the exit code of ssh, which is that of the command, or 255."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(_END_SECONDS)
        return 255

    def _keep(self, is_error: bool, chunk: bytes) -> None:
        if is_error:
            self.err += chunk
        else:
            self.out += chunk

    def _push(self) -> None:
        try:
            self._pending = self._pending[os.write(self._stdin.fileno(), self._pending[:_CHUNK]) :]
        except BrokenPipeError:
            # The command did not want all of it, and why is among what it prints.
            self._pending, self._ends = b"", True
        if not self._pending:
            self._selector.unregister(self._stdin)
            if self._ends:
                self._stdin.close()


@contextlib.contextmanager
def stream(
    argv: Sequence[str], environment: Mapping[str, str]
) -> Iterator[tuple[socket.socket, Callable[[], int | None]]]:
    """Give what ssh reads and writes as one socket, and a function for its exit code, if it has ended."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = subprocess.Popen(
                argv,
                env=environment,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        _running.add(process)

        def code() -> int | None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(_NOTICE_SECONDS)
            return None

        try:
            yield ours, code
        finally:
            process.kill()
            process.wait()


def errors(argv: Sequence[str], environment: Mapping[str, str], seconds: float) -> bytes:
    """Run ssh to its end, without input; return its errors, or nothing if it takes too long."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return subprocess.run(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            start_new_session=True,
            check=False,
        ).stderr
    return b""
