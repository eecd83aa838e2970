# SPDX-License-Identifier: Apache-2.0
"""Hold a conversation with a served model, through a tunnel to the port that only its host can reach."""

from __future__ import annotations

import contextlib
import http.client
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from provisioner.ansible.module_utils.provision.engine.client import (
    CHAT,
    Engine,
    LateError,
    NoAnswerError,
    Speed,
    key_of,
)
from provisioner.errors import HostError
from provisioner.fleet.services import Service
from provisioner.plain import one_line
from provisioner.remote.ssh import Command, Remote

# How long the engine may say nothing, and how long a whole answer may take unless the user sets it.
SILENT_SECONDS = 300.0
ANSWER_SECONDS = 900.0
_KEY_FOLDER = "/etc/provision"


@dataclass
class Conversation:
    """Keep what one service was asked and what it answered."""

    remote: Remote
    service: Service
    max_tokens: int | None = None
    temperature: float | None = None
    seconds: float = ANSWER_SECONDS
    messages: list[dict[str, str]] = field(default_factory=list)
    speed: Speed | None = None
    _key: str | None = field(default=None, repr=False)

    def ask(self, question: str) -> Iterator[str]:
        """Yield the answer piece by piece, `speed.thinking` while they are thoughts.

        Question and answer are remembered once it is complete, thoughts are not.
        """
        asked = [*self.messages, {"role": "user", "content": question}]
        body: dict[str, Any] = {"model": self.service.served_name, "messages": asked}
        body |= {} if self.max_tokens is None else {"max_tokens": self.max_tokens}
        body |= {} if self.temperature is None else {"temperature": self.temperature}
        key = self._api_key()
        pieces = []
        try:
            with self._tunnel() as connection:
                engine = Engine(self.service.url, key, self._silence, lambda: connection)
                self.speed = Speed()
                deadline = time.monotonic() + self.seconds
                for piece in engine.stream(CHAT, body, self.speed, deadline):
                    pieces += [] if self.speed.thinking else [piece]
                    yield piece
        except NoAnswerError as error:
            raise self._trouble(error) from error
        self.messages = [*asked, {"role": "assistant", "content": "".join(pieces)}]

    @contextlib.contextmanager
    def _tunnel(self) -> Iterator[http.client.HTTPConnection]:
        address = self.service.url.removeprefix("http://").rpartition(":")[0].strip("[]")
        port = self.service.port or self.service.engine.port
        try:
            with self.remote.tunnel(address, port) as stream:
                stream.settimeout(self._silence)
                connection = http.client.HTTPConnection(address)
                connection.sock = stream
                yield connection
        except HostError as error:
            if error.next_step is not None:
                raise
            raise HostError(f"{self.service.unit}: {error.message}", self._logs()) from error

    @property
    def _silence(self) -> float:
        """Return how long the engine may say nothing."""
        return min(SILENT_SECONDS, self.seconds)

    def _trouble(self, error: NoAnswerError) -> HostError:
        """Return the error that a missing answer means for the user."""
        silent = isinstance(error.__cause__, TimeoutError)
        if silent and self._silence == SILENT_SECONDS:
            reason = f"{self.service.unit} sent nothing for {SILENT_SECONDS:g} s"
            return HostError(reason, "check its load: provision status INVENTORY")
        if silent or isinstance(error, LateError):
            reason = f"{self.service.unit}: the answer was not complete after {self.seconds:g} s"
            return HostError(reason, "give it more --timeout, or a shorter answer with --max-tokens")
        step: str | None = self._logs()
        if error.status:
            # Other refusals are about the question.
            step = "provision apply INVENTORY renews the key" if error.status in (401, 403) else None
        if error.status in (404, 501) or "does not support" in str(error):
            step = "a model for embeddings, scores or classes does not chat; provision verify shows its task"
        return HostError(f"{self.service.unit}: {one_line(error, 300)}", step)

    def _logs(self) -> str:
        return f"see why: provision logs INVENTORY {self.remote.way.host}/{self.service.name}"

    def _api_key(self) -> str:
        """Return the key, which is read on the host and sent only into the tunnel."""
        if not self.service.settings.get("serve_api_key_file"):
            return ""
        if self._key is None:
            path = f"{_KEY_FOLDER}/{self.service.unit.removesuffix('.service')}.key"
            result = self.remote.run(Command(shlex.join(["cat", path]), as_root=True))
            if result.code:
                raise HostError(f"no API key at {path} on the host", "provision apply INVENTORY writes it")
            self._key = key_of(result.out)
        return self._key
