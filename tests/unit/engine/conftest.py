# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the tests of engines: a server that speaks the OpenAI API, and systemd with its journal."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.engine import files
from ansible.module_utils.provision.host import managed
from ansible.module_utils.provision.host.systemd import UnitState

PLACES = (
    (managed, "UNITS", "etc/systemd/system"),
    (files, "SETTINGS", "etc/provision"),
    (files, "LIBRARY", "usr/local/lib/provision"),
    (files, "GATE", "usr/local/lib/provision/serve-gate"),
    (files, "STATES", "var/lib/provision/services"),
    (files, "STARTED", "run/provision/started"),
)
SERVING = UnitState(
    load="loaded",
    active="active",
    sub="running",
    enabled=True,
    main_pid=1,
    invocation="first",
    active_seconds=900.0,
    control_group="/system.slice/vllm.service",
)


def look_below(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the code look at the files of services below a folder instead of this machine's."""
    for module, name, place in PLACES:
        monkeypatch.setattr(module, name, root / place)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the root of a host without services."""
    look_below(tmp_path, monkeypatch)
    for place in ("etc/systemd/system", "etc/provision", "run"):
        (tmp_path / place).mkdir(parents=True)
    return tmp_path


@dataclass
class FakeEngine:
    """Answer as told; a test changes the fields to break one thing at a time."""

    url: str = ""
    port: int = 0
    health: int = 200
    model: str = "org/model"
    max_model_len: int = 2048
    key: str = ""
    words: tuple[str, ...] = ("The capital", " of France", " is Paris.")
    thoughts: tuple[str, ...] = ()
    thinks_in: str = "reasoning_content"
    tokens_each: int = 1
    context: int = 4096
    generation_status: int = 200
    chat_status: int = 200
    ends_early: bool = False
    error: str = ""
    busy: int = 0
    pages: dict[str, Any] = field(default_factory=dict)
    shown: dict[str, Any] = field(default_factory=dict)
    unguarded: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    probed: list[str] = field(default_factory=list)
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    engine: FakeEngine

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        if self.path == "/health":
            self._send(self.engine.health, b"")
        elif not self._allowed():
            self._send(401, b'{"error": "Unauthorized"}')
        elif self.path in self.engine.pages:
            self._send(200, json.dumps(self.engine.pages[self.path]).encode())
        elif self.path != "/v1/models":
            self._send(404, b"")
        else:
            model = {"id": self.engine.model, "max_model_len": self.engine.max_model_len}
            self._send(200, json.dumps({"data": [model]}).encode())

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if content == b"{":
            self.engine.probed.append(self.path)
            is_open = self._allowed() or self.path in self.engine.unguarded
            self._send(404 if self.path in self.engine.absent else 400 if is_open else 401, b"")
            return
        body = json.loads(content)
        if self.path in self.engine.shown:
            self._send(200, json.dumps(self.engine.shown[self.path]).encode())
            return
        if self.path == "/api/show":
            self._send(404, b"")
            return
        self.engine.requests.append((self.path, body))
        status = self.engine.chat_status if "chat" in self.path else self.engine.generation_status
        if self.engine.busy:
            self.engine.busy -= 1
            status = 503
        if not self._allowed():
            status = 401
        if status != 200:
            self._send(status, b'{"error": "EngineCore is dead"}')
        elif body.get("max_tokens", 0) > self.engine.context:
            self._send(400, b'{"error": "max_tokens is too large"}')
        elif body.get("stream"):
            self._stream(body["max_tokens"])
        else:
            choice = {"text": self.engine.words[0] if self.engine.words else ""}
            usage = {"completion_tokens": min(len(self.engine.words), 1)}
            self._send(200, json.dumps({"choices": [choice], "usage": usage}).encode())

    def _stream(self, max_tokens: int) -> None:
        chat, engine = "chat" in self.path, self.engine
        pieces = [{"content": "", engine.thinks_in: thought} for thought in engine.thoughts]
        pieces += [{"content": word} for word in engine.words]
        fitting = pieces[: max_tokens // engine.tokens_each]
        lines: list[dict[str, Any]] = [
            {"choices": [{"delta": piece} if chat else {"text": piece["content"]}]} for piece in fitting
        ]
        cut = len(fitting) < len(pieces)
        lines.append({"choices": [{"delta": {}, "finish_reason": "length" if cut else "stop"}]})
        lines.append({"choices": [], "usage": {"completion_tokens": len(fitting) * engine.tokens_each}})
        lines += [{"error": {"message": self.engine.error}}] if self.engine.error else []
        text = "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"
        content = text.encode()
        self._send(200, content[:40] if self.engine.ends_early else content, length=len(content))

    def _allowed(self) -> bool:
        return not self.engine.key or self.headers.get("Authorization") == f"Bearer {self.engine.key}"

    def _send(self, status: int, content: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    fake = FakeEngine()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"engine": fake}))
    fake.port = server.server_address[1]
    fake.url = f"http://127.0.0.1:{fake.port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()
