# SPDX-License-Identifier: Apache-2.0
"""Be an engine with the API of OpenAI, which answers with the number of messages it was given."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "owner/model"


class Engine(ThreadingHTTPServer):
    """Hold what the engine wants and what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.key = ""
        self.models = [MODEL]
        self.breaks_off = False
        self.keeps_open = True
        self.thoughts: tuple[str, ...] = ()
        self.thinks_in = "reasoning"
        self.only_thinks = False
        self.cut = False
        # Seconds after which it says its words once more, for ever.
        self.repeats_after = 0.0
        # How it refuses a chat.
        self.refusal: tuple[int, str] | None = None
        self.asked: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop it."""
        self.shutdown()
        self._thread.join(10)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Engine

    def do_GET(self) -> None:
        if self.path == "/health":
            self._send(200, {})
        elif self._may():
            self._send(200, {"data": [{"id": name} for name in self.server.models]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._may():
            return
        if self.server.refusal:
            status, reason = self.server.refusal
            self._send(status, {"error": {"message": reason}})
            return
        self.server.asked.append(asked)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        if not self.server.keeps_open:
            self.send_header("Connection", "close")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for thought in self.server.thoughts:
            self._event({"choices": [{"delta": {self.server.thinks_in: thought}}]})
        for word in () if self.server.only_thinks else ("message ", str(len(asked["messages"])), "\x1b[31m"):
            self._event({"choices": [{"delta": {"content": word}}]})
        with contextlib.suppress(OSError):
            while self.server.repeats_after:
                time.sleep(self.server.repeats_after)
                self._event({"choices": [{"delta": {"content": "again "}}]})
        if self.server.breaks_off:
            self._event({"error": {"message": "the worker died"}})
        cut = "length" if self.server.only_thinks or self.server.cut else "stop"
        self._event({"choices": [{"delta": {}, "finish_reason": cut}]})
        self._event({"choices": [], "usage": {"completion_tokens": 7}})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _may(self) -> bool:
        if not self.server.key or self.headers["Authorization"] == f"Bearer {self.server.key}":
            return True
        self._send(401, {"error": {"message": "wrong key"}})
        return False

    def _event(self, event: dict[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _send(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
