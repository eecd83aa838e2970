# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: SLF001  Ansible gives plugins the names of roles as private attributes only.
"""Describe a task of Ansible as the events of a run do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
