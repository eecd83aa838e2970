# SPDX-License-Identifier: Apache-2.0
"""Hold a conversation with a served model, through a tunnel to the port that only its host can reach."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import paramiko

from provisioner.errors import HostError
from provisioner.fleet.services import Service
from provisioner.plain import one_line
from provisioner.remote import program
from provisioner.remote.ssh import Remote

PATH = "/v1/chat/completions"
ANSWER_SECONDS = 300.0
_KEY_FOLDER = "/etc/provision"


@dataclass
class Speed:
    """Measure an answer while it streams."""

    began: float
    first: float = 0.0
    last: float = 0.0
    tokens: int = 0

    @property
    def ttft_s(self) -> float:
        """Return the seconds to the first token."""
        return max(self.first - self.began, 0.0)

    @property
    def tokens_per_s(self) -> float:
        """Return the rate from the first token on."""
        return (self.tokens - 1) / (self.last - self.first) if self.last > self.first else 0.0


@dataclass
class Conversation:
    """Keep what was said to one service and what it answered."""

    remote: Remote
    service: Service
    max_tokens: int | None = None
    temperature: float | None = None
    messages: list[dict[str, str]] = field(default_factory=list)
    speed: Speed | None = None
    _key: str | None = field(default=None, repr=False)

    def ask(self, question: str) -> Iterator[str]:
        """Yield the answer piece by piece; question and answer are remembered once it is complete."""
        asked = [*self.messages, {"role": "user", "content": question}]
        body = {"model": self.service.served_name, "messages": asked, "stream": True}
        body["stream_options"] = {"include_usage": True}
        body |= {} if self.max_tokens is None else {"max_tokens": self.max_tokens}
        body |= {} if self.temperature is None else {"temperature": self.temperature}
        self.speed = Speed(time.monotonic())
        pieces = []
        for piece in self._stream(body, self.speed):
            pieces.append(piece)
            yield piece
        self.messages = [*asked, {"role": "assistant", "content": "".join(pieces)}]

    def _stream(self, body: dict[str, Any], speed: Speed) -> Iterator[str]:
        headers = {"Content-Type": "application/json", **self._authorization()}
        with self._connected() as connection:
            connection.request("POST", PATH, body=json.dumps(body), headers=headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise _refusal(answer, self.service)
            for event in _events(answer):
                speed.tokens = (event.get("usage") or {}).get("completion_tokens", speed.tokens)
                for choice in event.get("choices") or ():
                    piece = (choice.get("delta") or {}).get("content")
                    if piece:
                        speed.last = time.monotonic()
                        speed.first = speed.first or speed.last
                        speed.tokens += 1
                        yield piece

    @contextlib.contextmanager
    def _connected(self) -> Iterator[http.client.HTTPConnection]:
        address = self.service.url.removeprefix("http://").rpartition(":")[0].strip("[]")
        try:
            stream = self.remote.tunnel(address, self.service.port or self.service.engine.port)
        except HostError as error:
            if error.next_step is not None:
                raise
            step = f"see why: provision logs INVENTORY {self.remote.way.host}/{self.service.name}"
            raise HostError(f"{self.service.unit}: {error.message}", step) from error
        stream.settimeout(ANSWER_SECONDS)
        connection = http.client.HTTPConnection(address)
        connection.sock = _Socket(stream)
        try:
            with contextlib.closing(stream):
                yield connection
        except TimeoutError as error:
            reason = f"{self.service.unit} was silent for {ANSWER_SECONDS:g} s"
            raise HostError(reason, "look at its load: provision status INVENTORY") from error
        except (OSError, EOFError, ValueError, http.client.HTTPException) as error:
            reason = f"{self.service.unit}: the answer broke off: {one_line(error) or type(error).__name__}"
            step = f"see why: provision logs INVENTORY {self.remote.way.host}/{self.service.name}"
            raise HostError(reason, step) from error

    def _authorization(self) -> dict[str, str]:
        """Return the header with the key, which is read on the host and goes nowhere but into the tunnel."""
        if not self.service.settings.get("serve_api_key_file"):
            return {}
        if self._key is None:
            path = f"{_KEY_FOLDER}/{self.service.unit.removesuffix('.service')}.key"
            result = self.remote.run(program.as_root(["cat", path]))
            if result.code:
                user = self.remote.way.hops[-1].user
                raise program.explain_root(result.err, user) or HostError(
                    f"no API key at {path} on the host", "provision apply puts it there"
                )
            self._key = _unquoted(result.out)
        return {"Authorization": f"Bearer {self._key}"}


class _Reader(io.RawIOBase):
    """Read a channel as a file."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data: bytes = self._channel.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Socket:
    """Lend a channel to http.client, which closes a socket while it still reads from it."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._channel))

    def sendall(self, data: bytes) -> None:
        self._channel.sendall(data)

    def close(self) -> None:
        """Leave the channel open; who opened it closes it."""


def _unquoted(line: str) -> str:
    """Return the value of the assignment that systemd reads."""
    text = line.strip().partition("=")[2]
    if text[:1] == text[-1:] == '"':
        text = text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return text


def _events(answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """Yield the documents of a server-sent event stream; raises ValueError for an error among them."""
    for line in answer:
        text = line.decode(errors="replace").strip()
        if text == "data: [DONE]":
            return
        if text.startswith("data:"):
            event: dict[str, Any] = json.loads(text[len("data:") :])
            if event.get("error"):
                raise ValueError(_message(event))
            yield event


def _refusal(answer: http.client.HTTPResponse, service: Service) -> HostError:
    content = answer.read(1 << 16)
    try:
        said = _message(json.loads(content))
    except (ValueError, AttributeError):
        said = content.decode(errors="replace")
    step = "provision apply INVENTORY renews the key" if answer.status in (401, 403) else None
    return HostError(f"{service.unit} refused ({answer.status}): {one_line(said, 300)}", step)


def _message(document: dict[str, Any]) -> str:
    error = document.get("error", document)
    return str(error.get("message", error) if isinstance(error, dict) else error)
