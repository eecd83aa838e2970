# SPDX-License-Identifier: Apache-2.0
"""Ask an engine over its OpenAI-compatible API; every request is bounded."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..host.fault import Fault

ANSWER_TOKENS = 64
PAGE_SECONDS = 10
PAGE_BYTES = 8 << 20


class NoAnswerError(Fault):
    """Say why the engine gave no usable answer."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "read the engine's log: `journalctl --unit UNIT` on the host")


@dataclass(frozen=True)
class Answer:
    """Hold what the model generated and how fast."""

    text: str
    tokens: int
    ttft_s: float
    tokens_per_s: float


@dataclass
class _Stream:
    """Collect a streamed answer."""

    texts: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    reported: int = 0

    def add(self, event: dict[str, Any], now: float) -> None:
        if event.get("error"):
            raise NoAnswerError(f"the engine reported: {_reason(event)}")
        self.reported = (event.get("usage") or {}).get("completion_tokens", self.reported)
        for choice in event.get("choices") or ():
            text = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
            if text:
                self.texts.append(text)
                self.times.append(now)

    def answer(self, began: float) -> Answer:
        if not self.times:
            raise NoAnswerError("the engine ended its answer without a single token")
        tokens = self.reported or len(self.times)
        first, last = self.times[0], self.times[-1]
        # The first token's time is waiting for the prompt, so the rate counts from it on.
        rate = (tokens - 1) / (last - first) if last > first else tokens / max(last - began, 1e-6)
        text = "".join(self.texts).strip()
        return Answer(text, tokens, round(first - began, 3), round(rate, 1))


@dataclass(frozen=True)
class Engine:
    """Name an engine's API and the key that it wants."""

    url: str
    key: str = field(default="", repr=False)
    seconds: float = 120

    def status(self, path: str, *, with_key: bool = True) -> int:
        """Return the status of a GET."""
        with self._request("GET", path, with_key=with_key) as answer:
            answer.read(1 << 20)
            return answer.status

    def document(self, path: str) -> Any:
        """Return the JSON document at a path."""
        with self._request("GET", path) as answer:
            try:
                content = answer.read(PAGE_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise NoAnswerError(f"{path} broke off: {_said(error)}") from error
        if answer.status != 200:
            raise NoAnswerError(f"{path} answered {answer.status}: {_excerpt(content)}")
        try:
            return json.loads(content)
        except ValueError as error:
            raise NoAnswerError(f"{path} answered something that is no JSON") from error

    def models(self) -> list[dict[str, Any]]:
        """Return what the engine says of the models it serves."""
        try:
            return list(self.document("/v1/models")["data"])
        except (KeyError, TypeError) as error:
            raise NoAnswerError("/v1/models answered something that is no list of models") from error

    def ask(self, model: str, question: str) -> Answer:
        """Return the model's answer as a chat, or as a plain completion where it was not made to chat."""
        common = {"model": model, "max_tokens": ANSWER_TOKENS, "temperature": 0, "stream": True}
        common["stream_options"] = {"include_usage": True}
        chat = {**common, "messages": [{"role": "user", "content": question}]}
        try:
            return self._stream("/v1/chat/completions", chat)
        except _UnsuitableError:
            return self._stream("/v1/completions", {**common, "prompt": question})

    def _stream(self, path: str, body: dict[str, Any]) -> Answer:
        began = time.monotonic()
        collected = _Stream()
        with self._request("POST", path, body) as answer:
            if answer.status != 200:
                reason = f"{path} answered {answer.status}: {_excerpt(answer.read(1 << 16))}"
                raise _UnsuitableError(reason) if answer.status in (400, 404) else NoAnswerError(reason)
            for event in _events(answer, began + self.seconds):
                collected.add(event, time.monotonic())
        return collected.answer(began)

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, with_key: bool = True
    ) -> http.client.HTTPResponse:
        parts = urlsplit(self.url)
        seconds = self.seconds if body else PAGE_SECONDS
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if self.key and with_key:
            headers["Authorization"] = f"Bearer {self.key}"
        try:
            connection.request(method, path, body=json.dumps(body) if body else None, headers=headers)
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise NoAnswerError(f"{self.url}{path}: {_said(error)}") from error


class _UnsuitableError(NoAnswerError):
    """Say that the engine does not offer this kind of request for this model."""


def _events(answer: http.client.HTTPResponse, deadline: float) -> Iterator[dict[str, Any]]:
    """Yield the JSON documents of a server-sent event stream."""
    try:
        for line in answer:
            if time.monotonic() > deadline:
                raise NoAnswerError("the answer was not complete in time")
            text = line.decode("utf-8", errors="replace").strip()
            if text == "data: [DONE]":
                return
            if text.startswith("data: "):
                yield json.loads(text[len("data: ") :])
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswerError(f"the answer broke off: {_said(error)}") from error


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _reason(event: dict[str, Any]) -> str:
    error = event["error"]
    return str(error.get("message", error) if isinstance(error, dict) else error)


def _excerpt(content: bytes) -> str:
    return " ".join(content.decode("utf-8", errors="replace").split())[:300]
