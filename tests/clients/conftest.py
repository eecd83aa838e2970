# SPDX-License-Identifier: Apache-2.0
"""A hub on loopback, a model of noise, and the store's program with the clients of this environment."""

from __future__ import annotations

import json
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.lab import tiny_model
from provisioner.lab.hub import Hub

CHECKOUT = Path(__file__).resolve().parents[2]

REPO = "stand-in/noise"
SHARD = 4 * 1024**2


class Served:
    """A running hub and what a test wants of it."""

    def __init__(self, hub: Hub, root: Path) -> None:
        self.hub = hub
        self.root = root
        self.model = tiny_model.make(root, REPO, shard_bytes=SHARD)
        self.url = f"http://127.0.0.1:{hub.server_port}"

    def plant(self, *rules: dict[str, Any]) -> None:
        """Replace the faults."""
        self._ask("PUT", "/_faults", list(rules))

    def stats(self, name: str) -> dict[str, int]:
        """Return the counters of one file of the model, or of its listing."""
        counted: dict[str, dict[str, int]] = self._ask("GET", "/_stats")
        return counted.get(f"{REPO}/{name}" if name else REPO, {})

    def sent(self, repo: str) -> int:
        """Return the bytes sent of the files of a model."""
        counted: dict[str, dict[str, int]] = self._ask("GET", "/_stats")
        return sum(found.get("bytes", 0) for name, found in counted.items() if name.startswith(f"{repo}/"))

    def forget(self) -> None:
        """Clear the counters."""
        self._ask("DELETE", "/_stats")

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - loopback
            return json.loads(response.read())


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Served]:
    """Serve one model of two shards."""
    root = tmp_path / "hub"
    with Hub(("127.0.0.1", 0), root) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Served(server, root)
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the store's program."""
    from ansible.module_utils.provision.models.fetch import install  # noqa: PLC0415 - found once its folder is on the path

    path: Path = install(tmp_path_factory.mktemp("program"))
    return path


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between rounds; what the waits are is tested elsewhere."""
    monkeypatch.setattr("ansible.module_utils.provision.jobs.patience.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("ansible.module_utils.provision.models.process.LOOK_SECONDS", 0.05)


@pytest.fixture(params=["huggingface", "modelscope"])
def source(request: pytest.FixtureRequest) -> str:
    """Name each hub in turn."""
    name: str = request.param
    return name


@pytest.fixture
def orders(hub: Served, program: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that writes the orders of a fetch."""

    def make(source: str = "huggingface", **changes: Any) -> dict[str, Any]:
        revision = "main" if source == "huggingface" else "master"
        store = tmp_path / "store"
        return {
            "source": source,
            "model": REPO,
            "revision": revision,
            "title": "Download it",
            "include": [],
            "exclude": [],
            "allow_unsafe": False,
            "directory": str(store / source / "stand-in--noise" / revision),
            "root": str(store),
            "endpoint": hub.url,
            "token_file": "",
            "client_python": sys.executable,
            "program": str(program),
            "result": str(tmp_path / "run" / "job.json"),
            "cache": str(tmp_path / "cache"),
            "workers": 4,
            "streams": 4,
            "attempts": 3,
            "stall_seconds": 30,
            "reserve_bytes": 0,
            **changes,
        }

    return make
