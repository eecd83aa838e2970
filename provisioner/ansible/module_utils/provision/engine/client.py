# SPDX-License-Identifier: Apache-2.0
"""Use an engine's OpenAI-compatible API: the one client of verify, status, chat and the start gate."""

from __future__ import annotations

import contextlib
import json
import math
import re
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Callable, Iterable, Iterator
from urllib.parse import urlsplit

from ..host.fault import Fault

ANSWER_TOKENS = 64
# A model that thinks may need more before it says what is expected.
LONGER_ANSWERS = (512, 2048)
PAGE_SECONDS = 10
PAGE_BYTES = 8 << 20
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
# The file of an API key is an assignment that systemd reads.
_KEY_LINE = re.compile(r'[A-Z_][A-Z0-9_]*="(.*)"')


class NoAnswerError(Fault):
    """Explain why the engine gave no usable answer; `status` is the HTTP status of a refusal, otherwise 0."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message, "read the engine's log: `journalctl --unit UNIT` on the host")
        self.status = status


class LateError(NoAnswerError):
    """Report that an answer was not complete at its deadline."""


@dataclass
class Speed:
    """Measure an answer while it streams, and hold what was said: thoughts first, then the answer."""

    began: float = field(default_factory=time.monotonic)
    first: float = 0.0
    last: float = 0.0
    pieces: int = 0
    reported: int = 0
    said: str = ""
    thinking: bool = False
    cut: bool = False

    def add(self, event: dict[str, Any]) -> Iterator[str]:
        """Yield the pieces of text in one event of a stream; `thinking` says what the latest one is."""
        self.reported = (event.get("usage") or {}).get("completion_tokens", self.reported)
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {}
            # Engines give thoughts either name.
            thought = delta.get("reasoning_content") or delta.get("reasoning")
            answer = choice.get("text") or delta.get("content")
            self.cut = choice.get("finish_reason") == "length"
            for text, thinking in ((thought, True), (answer, False)):
                if text:
                    self.last = time.monotonic()
                    self.first = self.first or self.last
                    self.pieces += 1
                    self.said, self.thinking = self.said + text, thinking
                    yield text

    @property
    def tokens(self) -> int:
        """Return the number of tokens that the engine reports, or else of pieces."""
        return self.reported or self.pieces

    @property
    def ttft_s(self) -> float:
        """Return the seconds to the first token."""
        return max(self.first - self.began, 0.0)

    @property
    def tokens_per_s(self) -> float:
        """Return the rate from the first token on, since the time before it is spent on the prompt."""
        if self.last > self.first:
            return (self.tokens - 1) / (self.last - self.first)
        return self.tokens / max(self.last - self.began, 1e-6)


@dataclass(frozen=True)
class Engine:
    """Hold where an engine's API is, the key that it wants, and how to connect if not directly."""

    url: str
    key: str = field(default="", repr=False)
    seconds: float = 120
    connect: Callable[[], HTTPConnection] | None = None

    def status(self, path: str, seconds: float = PAGE_SECONDS) -> int:
        """Return the status of a GET."""
        with self._request(path, None, seconds) as answer:
            answer.read(1 << 20)
            return answer.status

    def post(self, path: str, content: str, seconds: float = PAGE_SECONDS) -> int:
        """Return the status of a POST with this content."""
        with self._request(path, content, seconds) as answer:
            answer.read(1 << 20)
            return answer.status

    def document(self, path: str, body: dict[str, Any] | None = None, seconds: float = PAGE_SECONDS) -> Any:
        """Return the JSON document at a path, or what it answers to a body."""
        with self._request(path, body, seconds) as answer:
            content = _accepted(path, answer).read(PAGE_BYTES)
        try:
            return json.loads(content)
        except ValueError as error:
            raise NoAnswerError(f"{path} answered with something that is not JSON", answer.status) from error

    def models(self) -> list[str]:
        """Return the names of the models that the engine serves."""
        try:
            return [str(model.get("id")) for model in self.document("/v1/models")["data"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise NoAnswerError("/v1/models answered with something that is not a list of models") from error

    def generate(self, model: str, seconds: float) -> int:
        """Return the number of tokens, at least one, that the model generates for a short prompt."""
        body = {"model": model, "prompt": "Hello", "max_tokens": 1, "temperature": 0}
        try:
            tokens = int(self.document(COMPLETIONS, body, seconds)["usage"]["completion_tokens"])
        except (ValueError, KeyError, TypeError) as error:
            raise NoAnswerError(f"{COMPLETIONS} answered with something that is not a completion") from error
        if tokens < 1:
            raise NoAnswerError(f"{COMPLETIONS} answered without a token")
        return tokens

    def answer(self, model: str, question: str, expected: str = "") -> tuple[str, Speed]:
        """Return the model's answer; one that is cut off before the expected text is requested longer."""
        deadline = time.monotonic() + self.seconds
        text, speed = self._ask(model, question, ANSWER_TOKENS, deadline)
        for tokens in LONGER_ANSWERS:
            if not speed.cut or expected.lower() in speed.said.lower() or time.monotonic() > deadline:
                break
            # One that does not fit into the context or the time leaves the shorter one to be judged.
            with contextlib.suppress(NoAnswerError):
                text, speed = self._ask(model, question, tokens, deadline)
        return text, speed

    def _ask(self, model: str, question: str, tokens: int, deadline: float) -> tuple[str, Speed]:
        """Return the answer as a chat, or as a plain completion if the model was not made to chat."""
        common = {"model": model, "max_tokens": tokens, "temperature": 0}
        try:
            return self._answer(
                CHAT, {**common, "messages": [{"role": "user", "content": question}]}, deadline
            )
        except NoAnswerError as error:
            if error.status not in (400, 404):
                raise
            return self._answer(COMPLETIONS, {**common, "prompt": question}, deadline)

    def _answer(self, path: str, body: dict[str, Any], deadline: float) -> tuple[str, Speed]:
        speed = Speed()
        text = "".join(text for text in self.stream(path, body, speed, deadline) if not speed.thinking)
        if not speed.pieces:
            raise NoAnswerError("the engine ended its answer without a single token")
        return text.strip(), speed

    def stream(
        self, path: str, body: dict[str, Any], speed: Speed, deadline: float = math.inf
    ) -> Iterator[str]:
        """Yield an answer piece by piece; each may take `seconds`, all of them until the deadline."""
        body = {**body, "stream": True, "stream_options": {"include_usage": True}}
        with self._request(path, body, self.seconds) as answer:
            for event in _events(_accepted(path, answer)):
                if time.monotonic() > deadline:
                    raise LateError("the answer was not complete in time")
                if event.get("error"):
                    raise NoAnswerError(f"the engine reported: {_message(event)}")
                yield from speed.add(event)

    @contextlib.contextmanager
    def _request(
        self, path: str, body: dict[str, Any] | str | None, seconds: float
    ) -> Iterator[HTTPResponse]:
        parts = urlsplit(self.url)
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        direct = HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
        connection = self.connect() if self.connect else direct
        place = f"{self.url}{path}"
        content = json.dumps(body) if isinstance(body, dict) else body
        try:
            connection.request("POST" if content else "GET", path, content, headers)
            with connection.getresponse() as answer:
                place = f"{path} broke off"
                yield answer
        except (OSError, EOFError, ValueError, HTTPException) as error:
            raise NoAnswerError(f"{place}: {str(error) or type(error).__name__}") from error
        finally:
            connection.close()


def key_of(text: str) -> str:
    """Return the API key in the content of a key file, empty if there is none."""
    found = _KEY_LINE.match(text)
    return re.sub(r"\\(.)", r"\1", found.group(1)) if found else ""


def _accepted(path: str, answer: HTTPResponse) -> HTTPResponse:
    """Return an answer of status 200; every other one is a refusal."""
    if answer.status == 200:
        return answer
    content = answer.read(1 << 16).decode("utf-8", errors="replace")
    with contextlib.suppress(ValueError, AttributeError):
        content = _message(json.loads(content))
    raise NoAnswerError(f"{path} answered {answer.status}: {' '.join(content.split())[:300]}", answer.status)


def _events(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the JSON documents of a server-sent event stream."""
    for line in lines:
        text = line.decode("utf-8", errors="replace").strip()
        if text == "data: [DONE]":
            return
        if text.startswith("data:"):
            yield json.loads(text[len("data:") :])


def _message(document: dict[str, Any]) -> str:
    error = document.get("error", document)
    return str(error.get("message", error) if isinstance(error, dict) else error)
