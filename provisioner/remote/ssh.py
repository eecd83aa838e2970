# SPDX-License-Identifier: Apache-2.0
"""Work on one host over SSH: run a command, follow one, connect to a port; all of it limited in time."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import paramiko
from fabric import Config, Connection
from paramiko.ssh_exception import ChannelException, NoValidConnectionsError, PasswordRequiredException

from provisioner.errors import HostError
from provisioner.plain import one_line
from provisioner.remote import hostkeys
from provisioner.remote.hostkeys import HostKeyPolicy, KeyRefused
from provisioner.remote.login import Login, advice
from provisioner.remote.reach import Hop, Way
from provisioner.runs import failures

CONNECT_SECONDS = 10.0
_CHUNK = 1 << 15
# After this time without an acknowledgement the connection counts as lost, however long the command may take.
_SILENCE_MS = 15_000
_REAP_SECONDS = 5.0

# Errors are raised; the library would also write them to standard error, with a traceback.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Result:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str
    seconds: float


class Remote:
    """The connection to one host; every method raises HostError with the reason and the next step."""

    def __init__(self, way: Way, seconds: float = CONNECT_SECONDS) -> None:
        self.way = way
        self._seconds = seconds
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Log in on every jump host and on the host, unless that is done."""
        if self._connection is not None and self._connection.is_connected:
            return
        if self.way.trouble:
            raise HostError(self.way.trouble, "fix this host's connection variables in the inventory")
        connection: Any = None
        for hop in self.way.hops:
            began = time.monotonic()
            try:
                connection = self._hop(hop, connection)
            except (OSError, EOFError, paramiko.SSHException, ValueError) as error:
                self._connection = connection
                self.close()
                jump = f"jump host {hop.host}: " if hop is not self.way.hops[-1] else ""
                in_time = time.monotonic() - began < self._seconds * 0.9
                reason, step = _explain(error, hop, self.way.host, in_time=in_time)
                if isinstance(error, paramiko.AuthenticationException) and "was refused" in reason:
                    step = advice(hop, self.way.hops[: self.way.hops.index(hop)])
                raise HostError(jump + reason, step) from error
        self._connection = connection

    def close(self) -> None:
        """Close the connection, on the jump hosts as well."""
        connection: Any = self._connection
        self._connection = None
        while isinstance(connection, Connection):
            _hang_up(connection)
            connection = connection.gateway

    def run(self, command: str, stdin: bytes = b"", seconds: float = 30.0) -> Result:
        """Run a shell command to its end."""
        began = time.monotonic()
        deadline = began + seconds
        kept: dict[bool, list[bytes]] = {False: [], True: []}
        with self._channel(command, stdin, seconds) as channel:
            for is_error, chunk in _chunks(channel, deadline):
                kept[is_error].append(chunk)
            if not channel.status_event.wait(max(deadline - time.monotonic(), 0.1)):
                raise TimeoutError
            code = channel.recv_exit_status()
        if code == -1:
            raise HostError(*failures.explain("Connection closed", self.way.host))
        out, err = (b"".join(kept[key]).decode(errors="replace") for key in (False, True))
        return Result(code, out, err, time.monotonic() - began)

    def lines(self, command: str) -> Iterator[str]:
        """Run a command and yield the lines of both its outputs while it runs; raises when it fails."""
        rest = {False: b"", True: b""}
        last = ""
        with self._channel(command, b"", self._seconds) as channel:
            for is_error, chunk in _chunks(channel, None):
                *whole, rest[is_error] = (rest[is_error] + chunk).split(b"\n")
                for line in whole:
                    last = line.decode(errors="replace")
                    yield last
            yield from (left.decode(errors="replace") for left in rest.values() if left)
            channel.status_event.wait(self._seconds)
            code = channel.recv_exit_status() if channel.status_event.is_set() else -1
        if code == -1:
            raise HostError(*failures.explain("Connection closed", self.way.host))
        if code:
            raise HostError(
                f"the command failed with exit code {code}: {one_line(last)}", failures.hint(last)
            )

    def tunnel(self, address: str, port: int) -> paramiko.Channel:
        """Return a stream to a port on the host's side; no port is opened on this machine."""
        self.open()
        transport = self._transport()
        try:
            return transport.open_channel(
                "direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=self._seconds
            )
        except ChannelException as error:
            if error.code == 1:
                step = "allow it: `AllowTcpForwarding local` in the host's sshd_config"
                raise HostError("its sshd does not allow tunnels to its ports", step) from error
            raise HostError(f"nothing listens on {address}:{port} on the host", None) from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise HostError(*failures.explain(f"Connection closed: {error}", self.way.host)) from error

    @contextlib.contextmanager
    def _channel(self, command: str, stdin: bytes, seconds: float) -> Iterator[paramiko.Channel]:
        self.open()
        try:
            channel = self._transport().open_session(timeout=self._seconds)
            with contextlib.closing(channel):
                channel.settimeout(seconds)
                channel.exec_command(command)
                if stdin:
                    channel.sendall(stdin)
                channel.shutdown_write()
                yield channel
        except TimeoutError as error:
            step = "check its load and disks, or set a longer --timeout; the work may still be running there"
            raise HostError(f"no result within {seconds:g} s", step) from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise HostError(*failures.explain(f"Connection closed: {error}", self.way.host)) from error

    def _transport(self) -> paramiko.Transport:
        transport: paramiko.Transport | None = (
            self._connection.transport if self._connection is not None else None
        )
        if transport is None:
            raise HostError(*failures.explain("Connection closed", self.way.host))
        return transport

    def _hop(self, hop: Hop, before: Connection | None) -> Connection:
        policy = HostKeyPolicy(
            hop.name or hostkeys.name_of(hop.host, hop.port),
            hop.known_hosts,
            hop.further_known_hosts,
            learn=hop.learn_keys,
        )

        def transport(sock: Any, **options: Any) -> paramiko.Transport:
            made = paramiko.Transport(sock, **options)
            policy.prefer_known(made)
            return made

        password = self.way.password if hop is self.way.hops[-1] else None
        login = Login(hop.user, hop.keys, use_agent=hop.use_agent, password=password)
        connection = Connection(
            hop.host,
            user=hop.user,
            port=hop.port,
            gateway=before or hop.proxy_command,
            connect_timeout=self._seconds,
            config=Config(overrides={"load_ssh_configs": False}),
            connect_kwargs={
                "auth_strategy": login,
                "banner_timeout": self._seconds,
                "auth_timeout": self._seconds,
                "channel_timeout": self._seconds,
                "transport_factory": transport,
            },
        )
        connection.client.set_missing_host_key_policy(policy)
        try:
            connection.open()
        except BaseException:
            _hang_up(connection)
            raise
        _notice_silence(connection.transport)
        return connection


def _hang_up(connection: Connection) -> None:
    transport = connection.client.get_transport()
    proxy = transport.sock if transport is not None else None
    if isinstance(proxy, paramiko.ProxyCommand):
        # The library signals a process id, which may be gone; the process object knows whether it has ended.
        vars(proxy)["close"] = proxy.process.kill
    connection.close()
    connection.client.close()
    if isinstance(proxy, paramiko.ProxyCommand):
        # The library does not wait for it, so collect its pipes and its exit here.
        proxy.process.kill()
        transport.join(_REAP_SECONDS)
        with proxy.process:
            pass


def _notice_silence(transport: paramiko.Transport) -> None:
    transport.set_keepalive(5)
    # Keep-alives request no answer, so the kernel has to notice when they are not acknowledged.
    if isinstance(transport.sock, socket.socket) and hasattr(socket, "TCP_USER_TIMEOUT"):
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE_MS)


def _chunks(channel: paramiko.Channel, deadline: float | None) -> Iterator[tuple[bool, bytes]]:
    """Yield what arrives until both outputs end; raises TimeoutError at the deadline."""
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    while True:
        if deadline is not None and time.monotonic() >= deadline:
            raise TimeoutError
        if channel.recv_stderr_ready():
            yield True, channel.recv_stderr(_CHUNK)
        elif channel.recv_ready():
            yield False, channel.recv(_CHUNK)
        elif channel.eof_received or channel.closed:
            return
        else:
            poll.poll(500 if deadline is None else min(500, max((deadline - time.monotonic()) * 1000, 1)))


def _explain(error: Exception, hop: Hop, host: str, *, in_time: bool) -> tuple[str, str]:
    """Return the reason in one line and the next step, for a login that failed."""
    where = f"connect to host {hop.host} port {hop.port}"
    if isinstance(error, PasswordRequiredException):
        return (
            f"the SSH key {error} has a passphrase",
            "load it with ssh-add, then run this again",
        )
    if isinstance(error, KeyRefused):
        message = str(error)
    elif isinstance(error, paramiko.AuthenticationException):
        message = f"Permission denied ({error})"
    elif isinstance(error, NoValidConnectionsError):
        reasons = "; ".join(str(getattr(one, "strerror", one)) for one in error.errors.values())
        message = f"{where}: {reasons}"
    elif isinstance(error, socket.gaierror):
        message = f"Could not resolve hostname {hop.host}"
    elif isinstance(error, TimeoutError) or not in_time:
        # The library has several messages for a host that accepts a connection and stays silent.
        message = f"{where}: Connection timed out"
    elif isinstance(error, (EOFError, ConnectionError)) or "banner" in str(error):
        message = "Connection closed by remote host"
    else:
        message = f"{where}: {error}"
    return failures.explain(message, host)
