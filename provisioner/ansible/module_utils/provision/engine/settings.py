# SPDX-License-Identifier: Apache-2.0
"""Find out which settings took effect in a running engine, and compare them with the requested ones."""

from __future__ import annotations

import contextlib
import functools
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..host.systemd import UnitState
from . import processes
from .causes import Cause, journal, matches
from .client import Engine, NoAnswerError
from .processes import Process

# The start of a service that has long served is far up in its journal.
JOURNAL_LINES = 20000
_WORDS = {"true": 1.0, "on": 1.0, "yes": 1.0, "false": 0.0, "off": 0.0, "no": 0.0}


class Effective(NamedTuple):
    """Hold a value that took effect and where it was seen."""

    value: Any
    source: str


@dataclass(frozen=True)
class Expected:
    """Hold what an engine's role requests of one setting, and where it can be read in the running engine."""

    name: str
    requested: Any = None
    at_least: bool = False
    sources: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Setting:
    """Hold what was requested of an engine and what it does; without a request the engine may choose."""

    wanted: Expected
    effective: Effective | None
    cause: str = ""
    next_step: str = ""

    @property
    def is_right(self) -> bool:
        """Return whether what took effect is what was requested."""
        requested, found = self.wanted.requested, self.effective
        if requested in (None, ""):
            return True
        return found is not None and _fits(requested, found.value, self.wanted.at_least)

    def describe(self) -> str:
        """Return the setting as evidence."""
        name, requested, found = self.wanted.name, self.wanted.requested, self.effective
        if requested in (None, ""):
            return f"{name}: {found.value} ({found.source})" if found else f"{name}: unknown"
        said = f"{name}: requested {'at least ' if self.wanted.at_least else ''}{requested}"
        if found is None:
            return f"{said}, and nothing shows what took effect"
        because = f", because {self.cause}" if self.cause else ""
        return f"{said}, effective {found.value} ({found.source}){because}"


@dataclass(frozen=True)
class Running:
    """Look at one running engine; everything is read at most once."""

    engine: Engine
    model: str
    status: UnitState
    _pages: dict[str, Any] = field(default_factory=dict, repr=False)

    def page(self, path: str) -> Any:
        """Return the document at a path of the engine's API, None if there is none."""
        if path not in self._pages:
            self._pages[path] = None
            with contextlib.suppress(NoAnswerError):
                self._pages[path] = self.engine.document(path)
        return self._pages[path]

    def field(self, path: str, place: str) -> Any:
        """Return one value of such a document, None if it is not there."""
        return pick(self.page(path), place, self.model)

    @functools.cached_property
    def processes(self) -> list[Process]:
        """Return the processes of the service."""
        return processes.members(self.status.control_group)

    @functools.cached_property
    def journal(self) -> list[str]:
        """Return what the engine logged since its start."""
        started = self.status.invocation
        return journal("", JOURNAL_LINES, started) if started else []

    def logged(self, pattern: str) -> re.Match[str] | None:
        """Return what the engine logged last that fits a pattern."""
        return next(reversed(matches(pattern, self.journal)), None)


def settle(wanted: Expected, causes: list[Cause], running: Running) -> Setting:
    """Return a setting with what took effect, and why if that is not what was requested."""
    found = next(filter(None, (observe(source, running) for source in wanted.sources)), None)
    setting = Setting(wanted, found)
    for cause in [] if setting.is_right else causes:
        match = running.logged(cause.pattern) if cause.setting == wanted.name else None
        if match:
            return Setting(wanted, found, cause.seen(match), cause.next)
    return setting


def observe(source: dict[str, Any], running: Running) -> Effective | None:
    """Return what one source shows, None if it shows nothing."""
    if "get" in source:
        value = running.field(source["get"], source["field"])
        return None if value is None else Effective(value, source["get"])
    if "journal" in source:
        found = running.logged(source["journal"])
        return Effective(found.group(found.re.groups and 1), "its journal") if found else None
    called = [(_called_with(process, source), process.name) for process in running.processes]
    seen = [(value, name) for value, name in called if value]
    if not seen:
        return None
    # An engine with several models has a process for each, and these may differ.
    values = dict.fromkeys(value for value, _ in seen)
    flags = source.get("process") or source["process_ratio"][0]
    return Effective(" and ".join(values), f"{flags[0]} of {seen[0][1]}")


def _called_with(process: Process, source: dict[str, Any]) -> str:
    """Return the value of a process's flags, empty if it is another process or has none."""
    if source.get("of") and not any(source["of"] in word for word in process.words):
        return ""
    if "process" in source:
        return process.flag(source["process"])
    whole, parts = (process.flag(flags) for flags in source["process_ratio"])
    return str(int(whole) // int(parts)) if whole.isdigit() and parts.isdigit() and int(parts) else ""


def pick(document: Any, place: str, model: str) -> Any:
    """Return the value at a dotted path; `*` takes the entry of a list that is about the model."""
    for part in place.split("."):
        if isinstance(document, dict):
            document = document.get(part)
        elif isinstance(document, list):
            document = _entry(document, part, model)
        else:
            return None
    return document


def _entry(entries: list[Any], part: str, model: str) -> Any:
    if part == "*":
        known = (one for one in entries if isinstance(one, dict))
        return next((one for one in known if model in map(one.get, ("id", "name", "model"))), None)
    return entries[int(part)] if part.isdigit() and int(part) < len(entries) else None


def _fits(requested: Any, effective: Any, at_least: bool) -> bool:
    wanted, actual = _plain(requested), _plain(effective)
    if at_least:
        return isinstance(wanted, float) and isinstance(actual, float) and actual >= wanted
    return wanted == actual


def _plain(value: Any) -> float | str:
    """Return a value such that two spellings of the same one are equal."""
    text = str(value).strip().lower()
    try:
        return _WORDS[text] if text in _WORDS else float(text)
    except ValueError:
        return text
