# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

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
def client_key(tmp_path: Path) -> Path:
    path = tmp_path / "id_ecdsa"
    paramiko.ECDSAKey.generate().write_private_key_file(str(path))
    return path


@pytest.fixture
def servers(tmp_path: Path, client_key: Path) -> Iterator[Callable[[], Sshd]]:
    """Give a maker of SSH servers whose user is not root and may use sudo."""
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
