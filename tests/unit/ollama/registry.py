# SPDX-License-Identifier: Apache-2.0
"""Be a registry that `ollama pull` talks to, with faults on demand: manifests, blobs, ranges, redirects."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "application/vnd.ollama.image.model"
CONFIG = "application/vnd.docker.container.image.v1+json"


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Registry:
    """Serve models until it is closed; `faults` maps an ending of a path to statuses that come first."""

    def __init__(self) -> None:
        self.manifests: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: dict[str, list[int]] = {}
        self.asked: list[str] = []
        self.sent: dict[str, int] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, name: str, weights: bytes, **extra: bytes) -> str:
        """Offer a model as `library/name:tag`, and return the digest of its manifest."""
        config = json.dumps({"model_format": "gguf", "model_family": "llama", "os": "linux"}).encode()
        layers = [self._layer(weights, MODEL)]
        layers += [
            self._layer(content, f"application/vnd.ollama.image.{kind}") for kind, content in extra.items()
        ]
        document = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": self._layer(config, CONFIG),
            "layers": layers,
        }
        content = json.dumps(document, separators=(",", ":")).encode()
        repository, _, tag = name.partition(":")
        self.manifests[f"/v2/{repository}/manifests/{tag}"] = content
        return digest_of(content)

    def _layer(self, content: bytes, kind: str) -> dict[str, Any]:
        self.blobs[digest_of(content)] = content
        return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(registry: Registry) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - one small class
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            registry.asked.append(f"{self.command} {self.path}")
            for ending, statuses in registry.faults.items():
                if self.path.endswith(ending) and statuses:
                    self._send(statuses.pop(0), b"out of order")
                    return
            if self.path in registry.manifests:
                self._send(200, registry.manifests[self.path])
                return
            content = registry.blobs.get(self.path.rpartition("/")[2])
            if content is None:
                self._send(404, b"not here")
            else:
                self._blob(content)

        def _blob(self, content: bytes) -> None:
            given = self.headers.get("Range")
            location = f"http://127.0.0.1:{registry.port}{self.path}"
            if not given:
                self._send(200, content, {"Location": location})
                return
            first, _, last = given.partition("=")[2].partition("-")
            part = content[int(first) : int(last) + 1 if last else len(content)]
            span = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
            registry.sent[self.path] = registry.sent.get(self.path, 0) + len(part)
            self._send(206, part, {"Content-Range": span})

        def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
