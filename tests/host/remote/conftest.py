# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from provisioner.fleet import services
from provisioner.fleet.services import Service
from tests.host.gpu.conftest import nvml, simulated_library
from tests.host.remote.engine import MODEL, Engine
from tests.host.remote.sshd import Sshd

__all__ = ["nvml", "simulated_library"]


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep control sockets out of the user's own folders; their paths have to be short."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


@pytest.fixture
def client_key(tmp_path: Path) -> Path:
    path = tmp_path / "id_ecdsa"
    paramiko.ECDSAKey.generate().write_private_key_file(str(path))
    return path


@pytest.fixture
def servers(tmp_path: Path, client_key: Path, sockets: Path) -> Iterator[Callable[[], Sshd]]:
    """Give a maker of SSH servers whose user is not root and may use sudo; no connection may stay."""
    made: list[Sshd] = []

    def make() -> Sshd:
        tools = tmp_path / f"tools{len(made)}"
        tools.mkdir()
        server = Sshd(tools, tmp_path / "known_hosts", client_key)
        server.tool("id", "echo 1000")
        server.tool("sudo", 'shift; exec "$@"')
        made.append(server)
        return server

    yield make
    for server in made:
        server.close()
    deadline = time.monotonic() + 5
    while left := [path for path in sockets.glob("provision-ssh/*") if path.is_socket()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


@pytest.fixture
def sshd(servers: Callable[[], Sshd]) -> Sshd:
    return servers()


@pytest.fixture
def engine() -> Iterator[Engine]:
    found = Engine()
    yield found
    found.close()


@pytest.fixture
def service(engine: Engine) -> Service:
    words = {"serve_engine": "vllm", "serve_model": MODEL, "serve_port": engine.server_address[1]}
    return services.resolve(words, {}).services[0]
