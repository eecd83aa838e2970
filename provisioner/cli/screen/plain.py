# SPDX-License-Identifier: Apache-2.0
"""Show a run in plain lines where there is no terminal: phases, changes, failures, some progress."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

from provisioner.cli.screen.report import show_report
from provisioner.cli.screen.text import host_text, hosts, progress, replace_unencodable
from provisioner.plain import clean
from provisioner.runs import report as r
from provisioner.runs.events import Event, PhaseStart, Progress, Result
from provisioner.runs.failures import cause, failure_of
from provisioner.runs.fold import Fold

PROGRESS_S = 10.0
LINE = 300
# Of one file in a diff; a unit has about a hundred lines, which are all of interest.
DIFF_LINES, SCRIPT_LINES, SHOWN_LINES = 150, 30, 15


def shortened(lines: list[str]) -> Iterator[str]:
    """Yield the lines of a diff, of a very long file only the first ones."""
    starts = [number for number, line in enumerate(lines) if line.startswith("--- ")] or [0]
    for begin, end in itertools.pairwise([*({0} - {*starts}), *starts, len(lines)]):
        part = lines[begin:end]
        is_script = any(re.match(r"[+-]#!", line) for line in part[:SHOWN_LINES])
        if len(part) <= (SCRIPT_LINES if is_script else DIFF_LINES):
            yield from part
        else:
            yield from part[:SHOWN_LINES]
            yield f"… {len(part) - SHOWN_LINES} more lines; events.jsonl in the folder of this run has them"


class PlainScreen:
    """Print a line for each event of interest; progress at most every ten seconds for each host."""

    def __init__(self, console: Console, fold: Fold, *, diff: bool = False, ladder: bool = False) -> None:
        self._console = console
        self._fold = fold
        self._diff = diff
        self._ladder = ladder
        self._shown: dict[str, float] = {}
        self._items: set[tuple[str, str, str]] = set()
        self._skipped: set[str] = set()

    def __enter__(self) -> Self:
        """Start; make sure that every line can be written."""
        replace_unencodable(self._console)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; there is nothing to restore."""

    def event(self, event: Event) -> None:
        """Add an event, and print its lines if it has any."""
        event = self._fold.add(event)
        if isinstance(event, PhaseStart):
            self._line(f"== {event.phase} ({hosts(len(event.hosts))})", "bold")
        elif isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, Result):
            self._result(event)

    def finish(self, report: r.Report) -> None:
        """Print the report."""
        self._console.print()
        show_report(report, self._console, ladder=self._ladder)

    def _progress(self, event: Progress) -> None:
        if event.t - self._shown.get(event.host, 0.0) < PROGRESS_S:
            return
        self._shown[event.host] = event.t
        shown = progress(event.provision.progress, event.attempt, event.attempts)
        self._line(": ".join(filter(None, (event.host, event.task, shown))))

    def _result(self, event: Result) -> None:
        if event.status in (r.FAILED, r.UNREACHABLE) and not event.ignored:
            self._failure(event)
        elif event.provision.skipped and event.host not in self._skipped:
            self._skipped.add(event.host)
            self._line(f"skipped {event.host}: {event.provision.skipped}", "dim")
        elif event.status == r.CHANGED and event.item is None:
            self._line(f"changed {event.host}: {event.task}", "yellow")
        if self._diff and event.diff:
            for line in shortened(clean(event.diff).rstrip().splitlines()):
                style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
                self._console.print(Text(f"    {line}", style), soft_wrap=True, highlight=False)

    def _failure(self, event: Result) -> None:
        place = (event.host, event.task, event.path)
        if event.item is None and place in self._items:
            return  # each failed item has been shown
        if event.item is not None:
            self._items.add(place)
        failure = failure_of(event)
        item = f" · {event.item}" if event.item else ""
        self._line(f"{event.status} {event.host}: {event.task}{item} ({failure.where})", "bold red")
        self._line(f"  {cause(failure)}")
        if failure.next:
            self._line(f"  next: {failure.next}")

    def _line(self, text: str, style: str = "") -> None:
        indent = len(text) - len(text.lstrip())
        line = Text.assemble(" " * indent, host_text(text, style, LINE))
        self._console.print(line, soft_wrap=True, highlight=False)
