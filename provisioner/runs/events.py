# SPDX-License-Identifier: Apache-2.0
"""Declare the events of a run, and write and read the file that holds them as JSON lines.

The fields have the names of the lines. `provision` is the key of a module's result, declared for both sides.
Only declared fields leave Ansible: arguments, variables and facts do not, at any verbosity, so no secret can.
The callback and the action plugins write to one file, from different processes: a line is one write at the
end of the file, so lines never mix. The reader skips a torn or unknown line.
"""

from __future__ import annotations

import json
import os
import time
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from provisioner.ansible.module_utils.provision.host.payload import Payload

T = TypeVar("T")
VERSION = 1
VARIABLE = "PROVISION_EVENTS"
TEXT_LIMIT = 4000
POLL_S = 0.1


@dataclass(frozen=True)
class Event:
    """The base of all events; `t` is seconds since the epoch."""

    t: float


@dataclass(frozen=True)
class RunStart(Event):
    """Ansible has started."""

    playbook: str = ""
    check: bool = False


@dataclass(frozen=True)
class PhaseStart(Event):
    """A phase (a play) starts on these hosts."""

    phase: str
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskStart(Event):
    """A host starts a task."""

    host: str
    phase: str
    task: str
    role: str = ""
    path: str = ""


@dataclass(frozen=True)
class Result(Event):
    """A task has ended on a host; with `item`, one item of its loop."""

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
    """A task that is polled has not finished yet."""

    host: str
    phase: str
    task: str
    attempt: int | None = None
    attempts: int | None = None
    provision: Payload = field(default_factory=Payload)


@dataclass(frozen=True)
class Counts:
    """Ansible's own counts of the results of one host."""

    ok: int = 0
    changed: int = 0
    failures: int = 0
    unreachable: int = 0
    skipped: int = 0
    rescued: int = 0
    ignored: int = 0


@dataclass(frozen=True)
class RunEnd(Event):
    """Ansible has ended; a run without this event was cut short."""

    stats: Mapping[str, Counts] = field(default_factory=dict)


KINDS: dict[str, type[Event]] = {
    "run_start": RunStart,
    "phase_start": PhaseStart,
    "task_start": TaskStart,
    "result": Result,
    "progress": Progress,
    "run_end": RunEnd,
}


class EventFile:
    """Write the events of one process; does nothing without the environment variable."""

    def __init__(self) -> None:
        self._path = os.environ.get(VARIABLE, "")
        self._fd = -1

    def __bool__(self) -> bool:
        return bool(self._path)

    def write(self, event: str, **values: Any) -> None:
        """Append one event; empty fields are omitted, and an undeclared one is an error."""
        if not self:
            return
        undeclared = set(values) - {known.name for known in fields(KINDS[event])}
        if undeclared:
            raise TypeError(f"the event {event} does not declare {', '.join(sorted(undeclared))}")
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        known = {name: value for name, value in values.items() if value not in (None, "", {}, False)}
        line = json.dumps({"v": VERSION, "t": round(time.time(), 3), "event": event, **known})
        os.write(self._fd, line.encode() + b"\n")


def title(task: Any) -> str:
    """Return the name of a task as it is written, up to its first template."""
    written = task.get_ds()
    name = written.get("name") if isinstance(written, Mapping) else None
    return str(name or task.name or task.get_name()).partition("{{")[0].strip()


def place(host: object, phase: object, task: Any) -> dict[str, Any]:
    """Return where an event happened; a phase is the name of a play."""
    return {"host": str(host), "phase": str(phase), "task": title(task)}


def origin(task: Any) -> dict[str, Any]:
    """Return the role of a task, and its file and line."""
    role = task._role  # noqa: SLF001 - Ansible has it as a private attribute only
    return {"role": role.get_name() if role else None, "path": task.get_path()}


def payload(value: Any) -> dict[str, Any]:
    """Return what may leave Ansible of the `provision` key of a module's result: what Payload declares."""
    return only(Payload, value, _simple)


def _simple(value: Any) -> Any:
    if isinstance(value, str):
        return shorten(value, TEXT_LIMIT)
    return value if isinstance(value, bool | int | float) else None


def shorten(text: str, limit: int) -> str:
    """Return the text, without its middle where it is too long."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - limit} characters left out …\n{text[-half:]}"


def parse(line: str | bytes) -> Event | None:
    """Return the event of one line, or None when the line is torn or of an unknown kind."""
    try:
        raw = json.loads(line)
        if not isinstance(raw, dict) or raw.get("v") != VERSION or raw.get("event") not in KINDS:
            return None
        return load(KINDS[raw["event"]], raw)
    except (ValueError, TypeError, AttributeError):
        return None


def read(path: Path) -> Iterator[Event]:
    """Yield the events that the file contains now."""
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


def load(cls: type[T], raw: object) -> T:
    """Return `cls` filled from what it declares of `raw`; raise TypeError when a part is missing or wrong."""
    if not isinstance(raw, Mapping):
        raise TypeError(f"{cls.__name__} needs a mapping")
    values = {}
    for name, hint, required in _fields(cast("Any", cls)):
        if raw.get(name) is not None:
            values[name] = _convert(hint, raw[name])
        elif required and types.NoneType in get_args(hint):
            values[name] = None
        elif required:
            raise TypeError(f"{cls.__name__} needs {name}")
    return cls(**values)


def only(cls: type, raw: object, keep: Callable[[Any], Any]) -> dict[str, Any]:
    """Return, as plain values, what `cls` declares of the mapping `raw`; `keep` gets each text and number."""
    known = raw if isinstance(raw, Mapping) else {}
    return {name: _declared(hint, known[name], keep) for name, hint, _ in _fields(cls) if name in known}


def _declared(hint: Any, raw: Any, keep: Callable[[Any], Any]) -> Any:
    inner = get_args(hint)
    if get_origin(hint) is tuple:
        return [_declared(inner[0], part, keep) for part in raw] if isinstance(raw, list) else []
    if get_origin(hint) in (Union, types.UnionType):
        return _declared(inner[0], raw, keep)
    return only(cast("type", hint), raw, keep) if is_dataclass(hint) else keep(raw)


@cache
def _fields(cls: Any) -> tuple[tuple[str, Any, bool], ...]:
    hints = get_type_hints(cls)
    return tuple(
        (part.name, hints[part.name], part.default is MISSING and part.default_factory is MISSING)
        for part in fields(cls)
    )


def _convert(hint: Any, raw: Any) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _or_none(inner[0], raw)
    if origin is tuple:
        parts = (_or_none(inner[0], part) for part in (raw if isinstance(raw, list | tuple) else [raw]))
        return tuple(part for part in parts if part is not None)
    if origin is not None:
        return {str(key): _convert(inner[1], value) for key, value in raw.items()}
    if is_dataclass(hint):
        return load(cast("type[Any]", hint), raw)
    if hint is bool:
        return raw is True
    if hint in (int, float) and (isinstance(raw, bool) or not isfinite(float(raw))):
        raise TypeError(f"{raw!r} is not a number")
    return hint(raw)


def _or_none(hint: Any, raw: Any) -> Any:
    try:
        return _convert(hint, raw)
    except (TypeError, ValueError, AttributeError):
        return None
