#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stand in for Abacus until the engine's own program is installed instead.

It speaks as much of the OpenAI API as a new role needs to pass its Molecule scenario before the engine itself
is installed: a health page, the list of models, and chats and completions, streamed or not. It reads no
weights, and every answer says that it is a stand-in. Standard library only, Python >= 3.8.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEY_VARIABLE = "ABACUS_API_KEY"
LONGEST_REQUEST = 1 << 20
ANSWER = "This is the stand-in for Abacus, without a model: its own program goes here."


class Server(ThreadingHTTPServer):
    """Hold what the handlers of all requests share."""

    daemon_threads = True

    def __init__(self, options: argparse.Namespace, key: str) -> None:
        super().__init__((options.host, options.port), Handler)
        self.options = options
        self.key = key


class Handler(BaseHTTPRequestHandler):
    """Answer one request."""

    server: Server

    def do_GET(self) -> None:
        """Answer the health page and the list of models."""
        if self.path == "/health":
            self._send({"status": "ok"})
        elif not self._has_key():
            self._refuse(HTTPStatus.UNAUTHORIZED, "the API key is missing or wrong")
        elif self.path == "/v1/models":
            options = self.server.options
            model = {"id": options.served_model_name, "object": "model", "owned_by": "stand-in"}
            self._send({"object": "list", "data": [{**model, "max_model_len": options.context_length}]})
        else:
            self._refuse(HTTPStatus.NOT_FOUND, f"there is no {self.path}")

    def do_POST(self) -> None:
        """Answer a chat or a completion."""
        if not self._has_key():
            self._refuse(HTTPStatus.UNAUTHORIZED, "the API key is missing or wrong")
            return
        if self.path not in ("/v1/chat/completions", "/v1/completions"):
            self._refuse(HTTPStatus.NOT_FOUND, f"there is no {self.path}")
            return
        try:
            length = min(int(self.headers.get("Content-Length", "0")), LONGEST_REQUEST)
            asked = json.loads(self.rfile.read(length))
            words = ANSWER.split(" ")[: int(asked.get("max_tokens") or len(ANSWER))]
        except (AttributeError, TypeError, ValueError):
            self._refuse(HTTPStatus.BAD_REQUEST, "the request is not a JSON object")
            return
        if asked.get("model") != self.server.options.served_model_name:
            self._refuse(HTTPStatus.NOT_FOUND, f"the model {asked.get('model')} is not served here")
        elif asked.get("stream"):
            self._stream(words)
        else:
            self._send(self._document(" ".join(words), len(words), whole=True))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the base class uses
        """Leave requests out of the journal: prompts belong to their users."""

    def _has_key(self) -> bool:
        given = self.headers.get("Authorization", "")
        return not self.server.key or hmac.compare_digest(given, f"Bearer {self.server.key}")

    def _document(self, text: str, tokens: int, *, whole: bool) -> dict[str, Any]:
        """Return an answer, or a part of one, in the shape that its path has."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop" if whole else None}
        if self.path == "/v1/completions":
            choice["text"] = text
        else:
            choice["message" if whole else "delta"] = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
        return {"model": self.server.options.served_model_name, "choices": [choice], "usage": usage}

    def _stream(self, words: list[str]) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for number, word in enumerate(words, start=1):
            event = json.dumps(self._document(word if number == 1 else f" {word}", number, whole=False))
            self.wfile.write(f"data: {event}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, document: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self._send({"error": {"message": reason}}, status)


def arguments() -> argparse.ArgumentParser:
    """Return the options, called as most engines call theirs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", type=Path, required=True, help="directory of the model")
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--context-length", type=int, default=4096)
    return parser


def main() -> int:
    """Serve until systemd ends it."""
    options = arguments().parse_args()
    if not options.model.is_dir():
        sys.stderr.write(f"no model in {options.model}\n")
        return 1
    with Server(options, os.environ.get(KEY_VARIABLE, "")) as server:
        sys.stderr.write(f"stand-in for Abacus, port {options.port}, no model\n")
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
