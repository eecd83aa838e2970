# SPDX-License-Identifier: Apache-2.0
"""The stand-in hub as Ollama's registry and as a server of releases."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.lab import hub, hub_registry, model_registry

WEIGHTS = b"GGUF" + bytes(range(256)) * 2000
DIGEST = f"sha256:{hashlib.sha256(WEIGHTS).hexdigest()}"
BLOB = f"/v2/library/tiny/blobs/{DIGEST}"
KEY = BLOB.removeprefix("/v2/")
ARCHIVE = "/releases/ollama/v1.0.0/ollama-linux-amd64.tar.zst"


class Caller:
    """Ask a running hub."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[Any, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def plant(self, **rule: Any) -> None:
        self.ask("/_faults", "PUT", [rule])

    def stats(self, key: str) -> dict[str, int]:
        found: dict[str, int] = json.loads(self.ask("/_stats")[1]).get(key, {})
        return found


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    gguf = tmp_path / "tiny.gguf"
    gguf.write_bytes(WEIGHTS)
    models, releases = tmp_path / "models", tmp_path / "releases"
    tree = models / hub_registry.REGISTRY / "library/tiny"
    model_registry.write(tree, "1b", gguf, b"Apache License\n")
    archive = releases / ARCHIVE.removeprefix("/releases/")
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"archive")
    with hub.Hub(("127.0.0.1", 0), models, releases) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Caller(server.server_port)
        server.shutdown()
        thread.join()


def test_a_manifest_names_layers_that_can_be_had(caller: Caller) -> None:
    response, body = caller.ask("/v2/library/tiny/manifests/1b")
    manifest = json.loads(body)
    assert response.headers["Content-Type"] == manifest["mediaType"]
    kinds = [layer["mediaType"].rpartition(".")[2] for layer in manifest["layers"]]
    assert kinds == ["model", "template", "license", "params"]
    for layer in [manifest["config"], *manifest["layers"]]:
        _, content = caller.ask(f"/v2/library/tiny/blobs/{layer['digest']}?storage")
        assert len(content) == layer["size"]
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == layer["digest"]


def test_a_blob_lies_at_another_host_name_as_its_client_demands(caller: Caller) -> None:
    response, body = caller.ask(BLOB)
    assert (response.status, body) == (307, b"")
    assert response.headers["Location"].startswith("http://localhost:")
    response, body = caller.ask(BLOB, Host="registry.example")
    assert response.headers["Location"] == f"http://127.0.0.1{BLOB}?storage"
    assert caller.stats(KEY) == {"redirects": 2}


@pytest.mark.parametrize(
    ("address", "other"),
    [
        ("hub.lab:8000", "10.89.0.2:8000"),
        ("10.89.0.2:8000", "hub.lab:8000"),
        ("127.0.0.1:2280", "localhost:2280"),
        ("localhost:2280", "127.0.0.1:2280"),
    ],
)
def test_the_other_name_of_the_hub(address: str, other: str) -> None:
    assert hub_registry.storage(address, "10.89.0.2") == other


def test_sends_the_range_of_a_blob(caller: Caller) -> None:
    response, body = caller.ask(BLOB, Range="bytes=10-19")
    assert (response.status, body) == (206, WEIGHTS[10:20])
    response, body = caller.ask(BLOB, "HEAD")
    assert (int(response.headers["Content-Length"]), body) == (len(WEIGHTS), b"")
    assert caller.stats(KEY) == {"requests": 1, "bytes": 10, "heads": 1}


@pytest.mark.parametrize("path", ["/v2/library/tiny/manifests/1b", BLOB, ARCHIVE])
def test_a_planted_status_is_told_once(caller: Caller, path: str) -> None:
    key = path.removeprefix("/v2/").lstrip("/")
    caller.plant(path=key, kind="status", status=500, count=1)
    assert caller.ask(path)[0].status == 500
    assert caller.ask(path)[0].status < 400


@pytest.mark.parametrize("kind", ["cut", "stall"])
def test_a_fault_waits_for_the_content_of_a_blob(caller: Caller, kind: str) -> None:
    caller.plant(path="library/tiny/blobs/*", kind=kind, after=1000, seconds=0, count=1)
    assert caller.ask(BLOB)[0].status == 307
    with pytest.raises(http.client.IncompleteRead) as caught:
        caller.ask(BLOB, Range="bytes=500-")
    assert len(caught.value.partial) == 1000
    assert caller.ask(BLOB, Range="bytes=1500-")[1] == WEIGHTS[1500:]


def test_a_blob_may_come_short_or_wrong(caller: Caller) -> None:
    caller.plant(path=KEY, kind="truncate", after=1000)
    assert len(caller.ask(f"{BLOB}?storage")[1]) == 1000
    caller.plant(path=KEY, kind="wrong", after=1000)
    body = caller.ask(f"{BLOB}?storage")[1]
    assert [at for at, byte in enumerate(WEIGHTS) if body[at] != byte] == [1000]


def test_serves_releases_and_counts_them(caller: Caller) -> None:
    assert caller.ask(ARCHIVE)[1] == b"archive"
    assert caller.ask(ARCHIVE, Range="bytes=4-")[1] == b"ive"
    assert caller.stats(ARCHIVE.lstrip("/")) == {"requests": 2, "bytes": 10}


@pytest.mark.parametrize(
    "path",
    [
        "/v2/library/tiny/manifests/7b",
        "/v2/library/.registry/manifests/1b",
        f"/v2/library/other/blobs/{DIGEST}",
        "/v2/library/tiny/blobs/sha256:../../manifests/1b",
        "/releases/ollama/v1.0.0/../../../tiny.gguf",
        "/releases/ollama/v2.0.0/ollama-linux-amd64.tar.zst",
        "/api/models/.registry/library",
    ],
)
def test_refuses_what_is_not_there(caller: Caller, path: str) -> None:
    assert caller.ask(path)[0].status == 404
