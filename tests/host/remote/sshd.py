# SPDX-License-Identifier: Apache-2.0
"""Be an SSH server on loopback whose commands run on this machine, with a PATH of the test's own."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_FAILED_CONNECT_FAILED,
    OPEN_SUCCEEDED,
)

from provisioner import content
from provisioner.fleet.services import Service
from provisioner.remote.reach import Hop, Way

_NUMBERS = itertools.count()


@dataclass
class Sshd:
    """Hold one server; `tools` comes first in the PATH of its commands."""

    tools: Path
    known_hosts: Path
    client_key: Path
    host_key: paramiko.PKey = field(default_factory=paramiko.ECDSAKey.generate)
    forbids_tunnels: bool = False
    password: str | None = None
    greeting: bytes = b""
    shell: str = "/bin/sh"
    commands: list[str] = field(default_factory=list)
    tunnels: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.transports: list[paramiko.Transport] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def hop(self, **changed: object) -> Hop:
        """Return what ssh makes of the way to this server."""
        known = {"host": "127.0.0.1", "port": self.port, "user": "ops", "keys": (self.client_key,)}
        return Hop(**{**known, **changed})  # type: ignore[arg-type]  # any field

    def way(
        self,
        name: str = "gpu1",
        services: tuple[Service, ...] = (),
        *,
        jumps: Sequence[Hop] = (),
        options: str = "",
        **hop: object,
    ) -> Way:
        """Return the way to this server as to a host of an inventory; `options` are lines of ssh."""
        hops = (*jumps, self.hop(**hop))
        names = [f"jump{number}" for number in range(len(jumps))]
        config = self.tools / f"config{next(_NUMBERS)}"
        lines = [f"Host {name}\n{options}"] + [f"  ProxyJump {','.join(names)}\n"] * bool(jumps)
        lines += map(_lines, (name, *names), (hops[-1], *jumps))
        # As Ansible asks for it where it has no password.
        lines += ["Host *\n  PreferredAuthentications publickey\n"] * (self.password is None)
        config.write_text(
            "".join(lines) + f"Host *\n  UserKnownHostsFile {self.known_hosts}\n  IdentityAgent none\n"
        )
        ssh = (
            str(content.ssh()),
            "-F",
            str(config),
            "-o",
            "NumberOfPasswordPrompts=1",
            "-o",
            "ConnectTimeout=10",
        )
        return Way(name, ssh=ssh, address=name, hops=hops, services=services, password=self.password)

    def tool(self, name: str, script: str) -> None:
        """Put a program on the host."""
        path = self.tools / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def close(self) -> None:
        """End it with all its connections."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join(10)
        for transport in self.transports:
            transport.close()
            transport.join(10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(self.host_key)
            self.transports.append(transport)
            transport.start_server(event=threading.Event(), server=_Session(self, transport))


class _Session(paramiko.ServerInterface):
    def __init__(self, server: Sshd, transport: paramiko.Transport) -> None:
        self._server = server
        self._transport = transport
        self._allowed = paramiko.ECDSAKey.from_private_key_file(str(server.client_key))

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002 - paramiko hands it over
        return "publickey" if self._server.password is None else "password"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        good = username == "ops" and key == self._allowed and self._server.password is None
        return AUTH_SUCCESSFUL if good else AUTH_FAILED

    def check_auth_password(self, username: str, password: str) -> int:
        good = username == "ops" and password == self._server.password
        return AUTH_SUCCESSFUL if good else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002 - likewise
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._server.commands.append(command.decode())
        threading.Thread(target=self._run, args=(channel, command.decode()), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        environment = {"PATH": f"{self._server.tools}:{os.environ['PATH']}", "LC_ALL": "C"}
        process = subprocess.Popen(
            [self._server.shell, "-c", command],
            env=environment,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        reader = threading.Thread(target=_feed, args=(channel, process), daemon=True)
        errors = _pass_on(cast("IO[bytes]", process.stderr), channel.sendall_stderr)
        with process, contextlib.suppress(OSError, EOFError), contextlib.closing(channel):
            channel.sendall(self._server.greeting)
            reader.start()
            _pass_on(cast("IO[bytes]", process.stdout), channel.sendall).join()
            errors.join()
            channel.send_exit_status(process.wait() & 0xFF)
            channel.shutdown_write()
            reader.join(1)

    def check_channel_direct_tcpip_request(
        self,
        chanid: int,
        origin: tuple[str, int],  # noqa: ARG002 - likewise
        destination: tuple[str, int],
    ) -> int:
        if self._server.forbids_tunnels:
            return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        try:
            target = socket.create_connection(destination, timeout=10)
        except OSError:
            return OPEN_FAILED_CONNECT_FAILED
        self._server.tunnels.append(destination)
        threading.Thread(target=self._tunnel, args=(target, chanid), daemon=True).start()
        return OPEN_SUCCEEDED

    def _tunnel(self, target: socket.socket, number: int) -> None:
        # Channels of commands wait there too.
        while (channel := self._transport.accept(10)) is not None and channel.get_id() != number:
            pass
        assert channel is not None

        def upward() -> None:
            with contextlib.suppress(OSError, EOFError):
                for data in iter(lambda: channel.recv(1 << 15), b""):
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=upward, daemon=True)
        writer.start()
        with contextlib.suppress(OSError, EOFError), target, contextlib.closing(channel):
            target.settimeout(30)
            for data in iter(lambda: target.recv(1 << 15), b""):
                channel.sendall(data)


def _feed(channel: paramiko.Channel, process: subprocess.Popen[bytes]) -> None:
    """Give a command its input; a client that goes away ends it."""
    stdin = cast("IO[bytes]", process.stdin)
    with contextlib.suppress(OSError, EOFError, ValueError):
        for data in iter(lambda: channel.recv(1 << 15), b""):
            stdin.write(data)
    with contextlib.suppress(OSError):
        stdin.close()
    if channel.closed:
        process.kill()


def _pass_on(stream: IO[bytes], send: Callable[[bytes], object]) -> threading.Thread:
    def work() -> None:
        with contextlib.suppress(OSError, EOFError):
            for data in iter(lambda: stream.read(1 << 15), b""):
                send(data)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _lines(name: str, hop: Hop) -> str:
    proxy = f"  ProxyCommand {hop.proxy_command}\n" if hop.proxy_command else ""
    keys = "".join(f'  IdentityFile "{key}"\n' for key in hop.keys)
    return (
        f"Host {name}\n  HostName {hop.host}\n  Port {hop.port}\n  User {hop.user}\n{proxy}{keys}"
        "  IdentitiesOnly yes\n"
    )
