# SPDX-License-Identifier: Apache-2.0
"""Find out which settings took effect in a running engine, and compare them with the requested ones."""

from __future__ import annotations

import contextlib
import functools
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..host import systemd
from ..host.paths import text_of
from ..host.systemd import UnitState
from . import processes, tasks
from .causes import Cause, journal, matches
from .client import Engine, NoAnswerError
from .processes import Process

# The start of a service that has long served is far up in its journal.
JOURNAL_LINES = 20000
_REMOVE = "remove that from the drop-in, then run `systemctl daemon-reload` and restart the unit"
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
    set_by: list[str] = field(default_factory=list)
    shared_by: dict[str, Any] = field(default_factory=dict)
    sources: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Setting:
    """Hold what was requested of an engine and what it does; without a request the engine may choose."""

    wanted: Expected
    effective: Effective | None
    cause: str = ""
    next_step: str = ""
    sharers: int = 0

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
        shared = self._share()
        if requested in (None, ""):
            return f"{name}: {found.value} ({found.source}){shared}" if found else f"{name}: unknown"
        said = f"{name}: requested {'at least ' if self.wanted.at_least else ''}{requested}"
        if found is None:
            return f"{said}, and nothing shows what took effect"
        because = f", because {self.cause}" if self.cause else ""
        return f"{said}, effective {found.value} ({found.source}){shared}{because}"

    def _share(self) -> str:
        """Return what each of those that share the value can count on."""
        value = _plain(self.effective.value) if self.effective else ""
        if self.sharers < 2 or not isinstance(value, float):
            return ""
        return f", shared by {self.sharers}: {int(value) // self.sharers} for each if all are in use"


@dataclass(frozen=True)
class Running:
    """Look at one running engine; everything is read at most once."""

    engine: Engine
    model: str
    status: UnitState
    unit: str = ""
    task: str = tasks.AUTO
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
    def does(self) -> str:
        """Return what the model is served for, empty if the engine does not answer."""
        with contextlib.suppress(NoAnswerError):
            return tasks.declared(self.engine, self.model) if self.task == tasks.AUTO else self.task
        return ""

    @functools.cached_property
    def overrides(self) -> list[tuple[Path, str]]:
        """Return the unit's drop-ins, and the files that they take the environment from, with their lines."""
        listed = systemd.show(self.unit, "DropInPaths").get("DropInPaths", "") if self.unit else ""
        found = {path: _lines(path) for path in map(Path, listed.split())}
        for text in list(found.values()):
            for name in re.findall(r"^EnvironmentFile=-?\"?([^\s\"]+)", text, re.MULTILINE):
                found.setdefault(Path(name), _lines(Path(name)))
        return list(found.items())

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
    sharers = observe(wanted.shared_by, running) if wanted.shared_by else None
    setting = Setting(wanted, found, sharers=int(sharers.value) if sharers else 0)
    if setting.is_right:
        return setting
    overrides = _overrides(wanted, running)
    places = "; ".join(f"{path} sets {name} to {value}" for path, name, value in overrides)
    if found and any(_fits(value, found.value, at_least=False) for _, _, value in overrides):
        return replace(setting, cause=places, next_step=_REMOVE)
    for cause in causes:
        seen = _explains(cause, setting, running) if cause.setting == wanted.name else None
        if seen is not None:
            return replace(setting, cause="; ".join(filter(None, (seen, places))), next_step=cause.next)
    return setting


def _explains(cause: Cause, setting: Setting, running: Running) -> str | None:
    """Return what a cause means if it explains the very value that took effect, else None."""
    found = setting.effective
    if cause.effective and not (found and _fits(cause.effective, found.value, at_least=False)):
        return None
    if cause.task and running.does != cause.task:
        return None
    shown = observe(cause.source, running) if cause.source else None
    if cause.source and (shown is None or str(shown.value) not in cause.among):
        return None
    if not cause.pattern:
        return f"{cause.meaning} ({shown.value})" if shown else cause.meaning
    match = running.logged(cause.pattern)
    return cause.seen(match) if match else None


def _overrides(wanted: Expected, running: Running) -> list[tuple[Path, str, str]]:
    """Return where drop-ins set what decides a setting, each with its name and value."""
    found = []
    for path, text in running.overrides if wanted.set_by else ():
        for name in wanted.set_by:
            values = re.findall(rf"(?<![\w-]){re.escape(name)}(?:=|\s+)\"?([^\s\"]+)", text)
            found += [(path, name, values[-1])] if values else []
    return found


def _lines(path: Path) -> str:
    """Return the lines of a file without its comments."""
    return "\n".join(line for line in text_of(path).splitlines() if not line.lstrip().startswith(("#", ";")))


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
