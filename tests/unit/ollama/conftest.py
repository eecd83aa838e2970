# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the tests of Ollama's models: a registry, and an Ollama that stores as the real one does."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.engine_ollama import api as ollama_api
from ansible.module_utils.engine_ollama import job as ollama_job
from ansible.module_utils.engine_ollama import names as ollama_names

from tests.unit.ollama.registry import Registry, digest_of

Name = ollama_names.Name


class FakeOllama:
    """Answer for a models directory; `failures` are raised by the next pulls instead of their last step."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[tuple[str, Any]] = []
        self.failures: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def paths(self) -> list[str]:
        return [path for path, _ in self.calls]

    def keep(self, content: bytes) -> dict[str, Any]:
        path = self.root / "blobs" / digest_of(content).replace(":", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(content)
        return {"mediaType": "application/x", "digest": digest_of(content), "size": len(content)}

    def name(self, text: str, content: bytes) -> None:
        path = self.root / "manifests" / Name.parse(text).path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def pull(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        name = Name.parse(body["model"].split("://")[-1])
        url = f"http://{name.host}/v2/{name.namespace}/{name.model}"
        content = urllib.request.urlopen(f"{url}/manifests/{name.tag}").read()  # noqa: S310 - loopback
        document = json.loads(content)
        for layer in [*document["layers"], document["config"]]:
            path = self.root / "blobs" / layer["digest"].replace(":", "-")
            if not path.exists():
                ask = urllib.request.Request(  # noqa: S310 - loopback
                    f"{url}/blobs/{layer['digest']}", headers={"Range": "bytes=0-"}
                )
                self.keep(urllib.request.urlopen(ask).read())  # noqa: S310 - loopback
            done = {"digest": layer["digest"], "total": layer["size"], "completed": layer["size"]}
            yield {"status": "pulling", **done}
        if self.failures:
            yield {"error": self.failures.pop(0)}
            return
        self.name(str(name), content)
        yield {"status": "success"}

    def create(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        base = body.get("from")
        if base:
            layers = json.loads((self.root / "manifests" / Name.parse(base).path).read_bytes())["layers"]
        else:
            (digest,) = body["files"].values()
            # As Ollama does from 0.30 on, write the weights anew.
            content = (self.root / "blobs" / digest.replace(":", "-")).read_bytes()
            layers = [self.keep(b"rewritten " + content)]
        yield {"status": "creating"}
        if body.get("system") == "refuse this":
            yield {"error": "bad template"}
            return
        layers += [self.keep(str(body[key]).encode()) for key in ("system", "parameters") if body.get(key)]
        config = self.keep(json.dumps(sorted(body)).encode())
        self.name(body["model"], json.dumps({"layers": layers, "config": config}).encode())
        yield {"status": "success"}

    def copy(self, body: dict[str, Any]) -> None:
        source = self.root / "manifests" / Name.parse(body["source"]).path
        self.name(body["destination"], source.read_bytes())


def _handler(ollama: FakeOllama) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer([{"version": "0.33.0"}])

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            ollama.calls.append((self.path, body))
            if self.path == "/api/copy":
                ollama.copy(body)
                self._answer([{}])
            else:
                self._answer((ollama.pull if self.path == "/api/pull" else ollama.create)(body))

        def _answer(self, events: Any) -> None:
            self.send_response(200)
            self.end_headers()
            for event in events:
                self.wfile.write(json.dumps(event).encode() + b"\n")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


@pytest.fixture
def registry() -> Iterator[Registry]:
    """Give a registry without models."""
    found = Registry()
    yield found
    found.close()


@pytest.fixture
def ollama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    """Give an Ollama that jobs find in place of the real one; nobody waits."""
    fake = FakeOllama(tmp_path / "models")
    fake.root.mkdir()

    @contextlib.contextmanager
    def private_server(*_: object) -> Iterator[Any]:
        yield ollama_api.Api("127.0.0.1", fake.port)

    monkeypatch.setattr(ollama_job, "private_server", private_server)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    yield fake
    fake.close()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
