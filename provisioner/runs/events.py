# SPDX-License-Identifier: Apache-2.0
"""Declare the events of a run, and read the JSON lines that hold them; a torn or unknown line is skipped.

The fields have the names of the lines. `provision` is the key of a module's result, declared for both sides.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from provisioner.ansible.module_utils.provision.host.payload import Payload
from provisioner.typed import load

VERSION = 1
POLL_S = 0.1


@dataclass(frozen=True)
class Event:
    """Be the base of all events; `t` is seconds since the epoch."""

    t: float


@dataclass(frozen=True)
class RunStart(Event):
    """Say that Ansible has begun."""

    playbook: str = ""
    check: bool = False


@dataclass(frozen=True)
class PhaseStart(Event):
    """Say that a phase (a play) begins on these hosts."""

    phase: str
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskStart(Event):
    """Say that a host begins a task."""

    host: str
    phase: str
    task: str
    role: str = ""
    path: str = ""


@dataclass(frozen=True)
class Result(Event):
    """Say how a task ended on a host; with `item`, how one item of its loop ended."""

    host: str
    phase: str
    task: str
    status: str
    role: str = ""
    path: str = ""
    ignored: bool = False
    msg: str = ""
    duration_s: float = 0.0
    item: str | None = None
    diff: str = ""
    provision: Payload = field(default_factory=Payload)


@dataclass(frozen=True)
class Progress(Event):
    """Say that a task that is asked again and again goes on."""

    host: str
    phase: str
    task: str
    attempt: int | None = None
    attempts: int | None = None
    provision: Payload = field(default_factory=Payload)


@dataclass(frozen=True)
class Counts:
    """Hold Ansible's own count of results of one host."""

    ok: int = 0
    changed: int = 0
    failures: int = 0
    unreachable: int = 0
    skipped: int = 0
    rescued: int = 0
    ignored: int = 0


@dataclass(frozen=True)
class RunEnd(Event):
    """Say that Ansible has ended; without it the run was cut short."""

    stats: Mapping[str, Counts] = field(default_factory=dict)


KINDS: dict[str, type[Event]] = {
    "run_start": RunStart,
    "phase_start": PhaseStart,
    "task_start": TaskStart,
    "result": Result,
    "progress": Progress,
    "run_end": RunEnd,
}


def parse(line: str | bytes) -> Event | None:
    """Return the event of one line, or None when the line is torn or of a kind not known here."""
    try:
        raw = json.loads(line)
        if not isinstance(raw, dict) or raw.get("v") != VERSION or raw.get("event") not in KINDS:
            return None
        return load(KINDS[raw["event"]], raw)
    except (ValueError, TypeError, AttributeError):
        return None


def read(path: Path) -> Iterator[Event]:
    """Yield the events that the file holds now."""
    return follow(path, lambda: True)


def follow(path: Path, done: Callable[[], bool]) -> Iterator[Event]:
    """Yield events while the file grows; stop after the last one once `done()` is true."""
    pending = b""
    offset = 0
    while True:
        last = done()
        chunk = _read_from(path, offset)
        offset += len(chunk)
        *lines, pending = (pending + chunk).split(b"\n")
        if last:
            lines.append(pending)
        for line in lines:
            if event := parse(line):
                yield event
        if last:
            return
        if not chunk:
            time.sleep(POLL_S)


def _read_from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read()
    except FileNotFoundError:
        return b""
