# SPDX-License-Identifier: Apache-2.0
"""Recognise in a journal why an engine did not start, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..host import systemd


@dataclass(frozen=True)
class Cause:
    """Hold what a journal may contain, what it means and what helps, for one setting if it has a name.

    A cause of a setting may explain one `effective` value alone, and hold for models with one `task`, or
    where the value of `source` is one of `among`.
    """

    pattern: str = ""
    meaning: str = ""
    next: str = ""
    setting: str = ""
    effective: str = ""
    task: str = ""
    source: dict[str, Any] = field(default_factory=dict)
    among: list[str] = field(default_factory=list)

    def seen(self, found: re.Match[str]) -> str:
        """Return the meaning, with the part of the journal that shows it."""
        return f"{self.meaning} ({shortened(found.group(0))})"


# Causes of any engine; each engine's role adds its own, which come first.
COMMON = (
    Cause(
        r"port \d+ is taken by .+|Address already in use",
        "the port is taken",
        "stop that process, or set serve_port to a free port",
    ),
    Cause(
        r"No space left on device",
        "the disk is full",
        "free up space: 'df -h / /var /opt' on the host shows where",
    ),
    Cause(
        r"status=4/ILL|SIGILL|[Ii]llegal instruction",
        "the processor lacks an instruction that the engine used",
        "choose a simpler data type, such as float32",
    ),
    Cause(
        r"oom-kill|killed by the OOM killer|Cannot allocate memory|MemoryError",
        "the host ran out of memory",
        "use a smaller model or a shorter context, stop other services, or add memory",
    ),
    Cause(
        r"status=203/EXEC|No such file or directory: .*/bin/",
        "the engine's program is missing",
        "run `provision apply` again; it rebuilds the environment",
    ),
    Cause(
        r"Permission denied.*",
        "the engine cannot read or write something that it needs",
        "let the engine's user read the model; the line above shows the path",
    ),
)
_ERROR = re.compile(r"\b\w*(Error|Exception)\b: .+")
_SHOWN_ERRORS = 4
_SHOWN_LINES = 8


def journal(unit: str, lines: int, invocation: str) -> list[str]:
    """Return the last lines of a unit's journal, of one start only if its invocation is given."""
    start = (f"_SYSTEMD_INVOCATION_ID={invocation}", "+", f"INVOCATION_ID={invocation}")
    shown = systemd.journal(lines, *(start if invocation else ("--unit", unit)))
    return [line for line in shown.splitlines() if line.strip()]


def matches(pattern: str | re.Pattern[str], lines: Iterable[str]) -> list[re.Match[str]]:
    """Return where lines fit a pattern, in their order."""
    return [found for found in (re.search(pattern, line) for line in lines) if found]


def explain(
    lines: Iterable[str], result: str, causes: Iterable[Mapping[str, Any]], unit: str
) -> tuple[str, str]:
    """Return what the journal means and the next step; the meaning is empty if nothing is recognised."""
    lines = [*lines, f"result: {result}"]
    for cause in [*(Cause(**cause) for cause in causes), *COMMON]:
        found = matches(cause.pattern, lines)
        if found:
            return cause.seen(found[0]), cause.next
    return "", f"read the journal lines above; `journalctl --unit {unit}` on the host shows the rest"


def excerpt(lines: list[str]) -> list[str]:
    """Return the journal's last errors and its last lines; a long traceback hides both."""
    errors = list(dict.fromkeys(found.group(0) for found in matches(_ERROR, lines)))
    last = [line for line in lines[-_SHOWN_LINES:] if not any(error in line for error in errors)]
    return [shortened(line) for line in [*errors[-_SHOWN_ERRORS:], *last]]


def shortened(text: str) -> str:
    """Return a text on one line, cut where it is too long to read."""
    text = " ".join(text.split())
    return text if len(text) <= 200 else text[:199] + "…"
