# SPDX-License-Identifier: Apache-2.0
"""Be an SSH server on loopback whose commands run on this machine, with a PATH of the test's own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_FAILED_CONNECT_FAILED,
    OPEN_SUCCEEDED,
)

from provisioner.fleet.services import Service
from provisioner.remote.reach import Hop, Way


@dataclass
class Sshd:
    """Hold one server; `tools` comes first in the PATH of its commands."""

    tools: Path
    known_hosts: Path
    client_key: Path
    host_key: paramiko.PKey = field(default_factory=paramiko.ECDSAKey.generate)
    forbids_tunnels: bool = False
    password: str | None = None
    commands: list[str] = field(default_factory=list)
    tunnels: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.transports: list[paramiko.Transport] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def hop(self) -> Hop:
        """Return the way to this server."""
        return Hop(
            host="127.0.0.1",
            port=self.port,
            user="ops",
            name="",
            keys=(self.client_key,),
            known_hosts=(self.known_hosts,),
            further_known_hosts=(),
            learn_keys=True,
            use_agent=False,
            proxy_command=None,
        )

    def way(self, name: str = "gpu1", services: tuple[Service, ...] = (), **hop: object) -> Way:
        """Return the way to this server as to a host of the inventory."""
        return Way(name, hops=(replace(self.hop(), **hop),), services=services)  # type: ignore[arg-type]  # any field

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
        with contextlib.suppress(OSError, EOFError), contextlib.closing(channel):
            given = b"".join(iter(lambda: channel.recv(1 << 15), b""))
            environment = {"PATH": f"{self._server.tools}:{os.environ['PATH']}", "LC_ALL": "C"}
            done = subprocess.run(
                ["/bin/sh", "-c", command], input=given, env=environment, capture_output=True, check=False
            )
            channel.sendall(done.stdout)
            channel.sendall_stderr(done.stderr)
            channel.send_exit_status(done.returncode)

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
