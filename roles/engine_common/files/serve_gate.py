#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Guard the start of an engine: refuse a taken port before it, and wait for a real answer after it.

Installed as /usr/local/lib/provision/serve-gate and run by the engine's unit. Standard library only,
Python >= 3.8.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import ipaddress
import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

PROC = Path("/proc")
RUN = Path("/run/provision")
UNITS = Path("/etc/systemd/system")
SETTINGS = Path("/etc/provision")
LISTENING = "0A"
HEALTH_SECONDS = 5
PAUSE_SECONDS = 0.5
# Memory that an engine before this one has yet to give back comes free between two attempts.
FAILED_ANSWERS = 5


class NotYetError(Exception):
    """Say why the engine does not answer yet."""


class FailedError(NotYetError):
    """Say that the engine tried to answer and failed."""


class RefusedError(Exception):
    """Say why the engine can never answer as asked."""


def listeners(port: int) -> dict[str, str]:
    """Return the sockets that listen on `port`: inode to address."""
    found = {}
    for table in ("tcp", "tcp6"):
        try:
            lines = (PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:  # a kernel without IPv6 has no tcp6
            continue
        for line in lines:
            fields = line.split()
            host, number = fields[1].split(":")
            if fields[3] == LISTENING and int(number, 16) == port:
                found[fields[9]] = _address(host)
    return found


def _address(text: str) -> str:
    """Decode an address of /proc/net/tcp, whose 32-bit words are in the machine's byte order."""
    raw = bytes.fromhex(text)
    words = [raw[start : start + 4] for start in range(0, len(raw), 4)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    address = ipaddress.ip_address(b"".join(words))
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _overlap(first: str, second: str) -> bool:
    """Tell whether two sockets of one port exclude each other; a wildcard excludes everything."""
    one, two = ipaddress.ip_address(first), ipaddress.ip_address(second)
    if one.is_unspecified or two.is_unspecified:
        # [::] accepts IPv4 as well unless it was asked not to, which this table does not tell.
        return one.version == two.version or "::" in (first, second)
    return one == two


def _owner(inode: str) -> str:
    wanted = f"socket:[{inode}]"
    for process in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # processes end while they are read
            for link in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(link) == wanted:
                        return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return "a process that this user may not see"


def port_owner(address: str, port: int) -> str:
    """Return who listens where the engine wants to, or an empty string."""
    wanted = {"localhost": "127.0.0.1", "": "0.0.0.0", "*": "0.0.0.0"}.get(address, address).strip("[]")  # noqa: S104
    for inode, taken in listeners(port).items():
        if _overlap(wanted, taken):
            return _owner(inode)
    return ""


def _digest(path: Path) -> str:
    if path.is_dir():
        return _tree_digest(path)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return "absent"


def _tree_digest(path: Path) -> str:
    """Summarise a directory by names, sizes and times: reading the weights would take minutes."""
    seen = []
    for folder, folders, names in os.walk(str(path)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                file = Path(folder) / name
                seen.append((str(file.relative_to(path)), *_size_and_time(file)))
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except FileNotFoundError:  # a link to nowhere, or a file that went meanwhile
        return -1, 0
    return status.st_size, status.st_mtime_ns


def signature(unit: str, model: str) -> dict[str, str]:
    """Return what a start of `unit` would read from disk now."""
    stem = unit[: -len(".service")]
    return {
        "unit file": _digest(UNITS / unit),
        "environment": _digest(SETTINGS / f"{stem}.env"),
        "API key": _digest(SETTINGS / f"{stem}.key"),
        "model files": _digest(Path(model)) if model else "none",
    }


def started_file(unit: str) -> Path:
    """Return the file that says what the engine was started with; root's, not the engine's to change."""
    return RUN / "started" / f"{unit[: -len('.service')]}.json"


def preflight(options: argparse.Namespace) -> None:
    """Refuse a taken port, then write down what the engine is started with."""
    owner = port_owner(options.address, options.port)
    if owner:
        raise RefusedError(f"port {options.port} is taken by {owner}")
    if not options.unit:
        return
    path = started_file(options.unit)
    for folder in (RUN, path.parent):
        folder.mkdir(exist_ok=True)  # services start side by side
        folder.chmod(0o755)  # whatever the unit's umask
    temporary = path.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(signature(options.unit, options.model_dir)))
    temporary.replace(path)


def _request(
    url: str, path: str, body: dict[str, object] | None, key: str, seconds: float
) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        content = json.dumps(body) if body is not None else None
        connection.request("POST" if content else "GET", path, body=content, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def answers(url: str, health: str, model: str, key: str, seconds: float) -> int:
    """Return the number of tokens that the model generated; raise while it generates none."""
    try:
        status, _ = _request(url, health, None, key, HEALTH_SECONDS)
        if status != 200:
            raise NotYetError(f"{health} answered {status}")
        body: dict[str, object] = {"model": model, "prompt": "Hello", "max_tokens": 1, "temperature": 0}
        # Some engines load a model at the first request for it, and stop loading when that is given up.
        status, content = _request(url, "/v1/completions", body, key, seconds)
    except (OSError, http.client.HTTPException) as error:
        raise NotYetError(f"{url} does not answer: {error}") from error
    if status == 200:
        return _tokens(content)
    reason = f"/v1/completions answered {status}: {content[:200].decode(errors='replace')}"
    # The engine is up, so a request it calls wrong stays wrong; only overload passes.
    if 400 <= status < 500 and status != 429:
        raise RefusedError(reason)
    raise FailedError(reason) if status == 500 else NotYetError(reason)


def _tokens(content: bytes) -> int:
    try:
        document = json.loads(content)
        tokens = int(document["usage"]["completion_tokens"])
    except (ValueError, KeyError, TypeError) as error:
        raise NotYetError("/v1/completions answered something that is no completion") from error
    if tokens < 1:
        raise NotYetError("/v1/completions answered without a token")
    return tokens


def _alive(process: int) -> bool:
    return not process or (PROC / str(process)).exists()


def ready(options: argparse.Namespace) -> None:
    """Wait until every model has generated a token, and give up as soon as the engine has ended."""
    key = os.environ.get(options.key_variable, "") if options.key_variable else ""
    began = time.monotonic()
    for model in (options.model, *options.preload):
        _await_token(options, model, key, began)
        which = "the model" if model == options.model else model
        _say(f"{which} answered {time.monotonic() - began:.0f} s after its start")


def _await_token(options: argparse.Namespace, model: str, key: str, began: float) -> None:
    process = int(os.environ.get("MAINPID", "0") or 0)
    reason, failures, passed = "", 0, time.monotonic() - began
    while passed < options.timeout:
        if not _alive(process):
            raise RefusedError(f"the engine ended {passed:.0f} s after its start, before it answered")
        try:
            answers(options.url, options.health, model, key, options.timeout - passed)
        except NotYetError as error:
            reason = str(error)
            failures = failures + 1 if isinstance(error, FailedError) else 0
            if failures >= FAILED_ANSWERS:
                raise RefusedError(f"{model}: {failures} times in a row {reason}") from error
            time.sleep(PAUSE_SECONDS)
        else:
            return
        passed = time.monotonic() - began
    raise RefusedError(f"{model}: no answer within {options.timeout} s; last: {reason}")


def show(options: argparse.Namespace) -> None:
    """Print what a start would read, what the running engine was started with, and who has the port."""
    try:
        started = json.loads(started_file(options.unit).read_text())
    except (OSError, ValueError):  # never started, or stopped
        started = {}
    document = {"now": signature(options.unit, options.model_dir), "started": started}
    document["port_owner"] = port_owner(options.address, options.port)
    _say(json.dumps(document))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="serve-gate", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for function in (preflight, show):
        command = commands.add_parser(function.__name__, help=(function.__doc__ or "").splitlines()[0])
        command.add_argument("--address", default="127.0.0.1")
        command.add_argument("--port", type=int, required=True)
        command.add_argument("--unit", default="")
        command.add_argument("--model-dir", default="")
        command.set_defaults(function=function)
    command = commands.add_parser("ready", help=(ready.__doc__ or "").splitlines()[0])
    for name in ("--url", "--model"):
        command.add_argument(name, required=True)
    command.add_argument("--health", default="/health")
    command.add_argument("--key-variable", default="")
    command.add_argument("--timeout", type=float, default=1800)
    command.add_argument("--preload", action="append", default=[], metavar="MODEL")
    command.set_defaults(function=ready)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _arguments().parse_args(arguments)
    try:
        options.function(options)
    except RefusedError as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{options.command} failed: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
