# SPDX-License-Identifier: Apache-2.0
"""Run a private Ollama for the time of a job, and call its API."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Generator, Iterator

from ansible.module_utils.provision.host.fault import Fault

START_SECONDS = 120
STOP_SECONDS = 20
SETTLE_SECONDS = 3
# Reading a file again can take long, without any output meanwhile.
QUIET = ("verifying", "success")


class OllamaError(Fault):
    """A request that Ollama did not carry out, with its answer."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "read the job's log on the host, then apply again")


class Api:
    """Talk to one Ollama on this host."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    def ask(self, path: str, body: dict[str, Any] | None = None, seconds: float = 10) -> None:
        """Make a small request; raises OllamaError where it is refused."""
        with self._request(path, body, seconds) as (answer, _):
            answer.read(1 << 16)

    def stream(
        self, path: str, body: dict[str, Any], stall: float | None = None
    ) -> Generator[dict[str, Any], None, None]:
        """Yield Ollama's progress; raises the error that ends it."""
        with self._request(path, body, stall) as (answer, line):
            for event in _events(answer, stall):
                line.settimeout(None if str(event.get("status")).startswith(QUIET) else stall)
                yield event

    @contextlib.contextmanager
    def _request(
        self, path: str, body: dict[str, Any] | None, seconds: float | None
    ) -> Iterator[tuple[http.client.HTTPResponse, socket.socket]]:
        """Provide the answer, and the connection, whose patience may change while the answer arrives."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=seconds)
        try:
            connection.connect()
            line: socket.socket = connection.sock
            connection.request("POST" if body else "GET", path, body=json.dumps(body) if body else None)
            with connection.getresponse() as answer:
                if answer.status >= 400:
                    raise OllamaError(f"{path} answered {answer.status}: {_said(answer.read(1 << 16))}")
                yield answer, line
        except socket.timeout as error:
            raise OllamaError(f"Ollama sent nothing for {seconds:.0f} s") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise OllamaError(f"{path} was cut off: {str(error) or type(error).__name__}") from error
        finally:
            connection.close()


def _events(answer: http.client.HTTPResponse, stall: float | None) -> Iterator[dict[str, Any]]:
    ended, moved, last = False, time.monotonic(), ""
    for line in answer:
        event = json.loads(line)
        if event.get("error"):
            raise OllamaError(str(event["error"]))
        if line.decode(errors="replace") != last:
            moved, last = time.monotonic(), line.decode(errors="replace")
        elif stall and time.monotonic() - moved > stall:
            # Ollama repeats the same line while no byte arrives.
            raise OllamaError(f"no byte arrived for {stall:.0f} s")
        ended = ended or event.get("status") == "success"
        yield event
    if not ended:
        raise OllamaError("it ended without reporting success")


def _said(content: bytes) -> str:
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace")[:300]


@contextlib.contextmanager
def private_server(binary: str, models: Path, home: Path) -> Iterator[Api]:
    """Provide an Ollama that only this job can find, and end it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if not _has_login(name, value)},
        "HOME": str(home),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": str(models),
        # A start would otherwise remove the parts of an interrupted pull, and of models being created.
        "OLLAMA_NOPRUNE": "1",
        "OLLAMA_NO_CLOUD": "1",
        # It loads no model, so it needs no GPU; GPUs stay with the services.
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    process = subprocess.Popen([binary, "serve"], env=environment, stdin=subprocess.DEVNULL)
    try:
        api = Api("127.0.0.1", port)
        _await(process, api)
        yield api
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _has_login(name: str, value: str) -> bool:
    """Return whether a variable is a proxy's and has a password, which Ollama would write to its journal."""
    return name.lower().endswith("_proxy") and "@" in value


def _await(process: subprocess.Popen[bytes], api: Api) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Fault(
                f"Ollama ended with status {process.returncode} when it was started to pull models",
                "read the journal of this job on the host",
            )
        with contextlib.suppress(OllamaError):
            api.ask("/api/version")
            return
        time.sleep(0.1)
    raise Fault(
        f"Ollama did not answer within {START_SECONDS} s of its start",
        "read the journal of this job on the host",
    )


def settle(folder: Path, since: float) -> None:
    """Wait, briefly, until an Ollama whose pull was cancelled has noted how far its parts are."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        parts = [path for path in folder.glob("sha256-*-partial-*") if path.is_file()]
        if not parts or any(path.stat().st_mtime >= since for path in parts):
            return
        time.sleep(0.1)
