# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: SLF001  Ansible gives plugins the names of roles as private attributes only.
"""Append events of a run to the file in PROVISION_EVENTS, one JSON line each; never a secret.

The callback and the action plugins write to the same file, from different processes: a line is one write at
the end of the file, so lines never mix. Only the fields that `provisioner.runs.events` declares leave
Ansible: arguments, variables and facts do not, at any verbosity.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from provisioner.ansible.module_utils.provision.host.payload import Payload
from provisioner.runs.events import KINDS, VERSION
from provisioner.typed import only

VARIABLE = "PROVISION_EVENTS"
TEXT_LIMIT = 4000


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
        undeclared = set(values) - {field.name for field in fields(KINDS[event])}
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
    return {"role": task._role.get_name() if task._role else None, "path": task.get_path()}


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
