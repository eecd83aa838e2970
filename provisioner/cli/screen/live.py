# SPDX-License-Identifier: Apache-2.0
"""Draw the live table: hosts by phases, what each host is doing and for how long."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from provisioner.cli.screen.report import show_report
from provisioner.cli.screen.text import duration, host_text, hosts, middle, progress, symbol
from provisioner.plain import one_line
from provisioner.runs import report as r
from provisioner.runs.events import Event
from provisioner.runs.fold import RUNNING, WAITING, Fold

MEDIUM = 60
NAME_ROOM = ((100, 12), (80, 6), (0, 4))  # from this terminal width on, this many letters of a phase
FRAME_LINES = 5
STYLE_BAD = "bold red"
WEB_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


class LiveTable:
    """Render the state of a fold as a table that fits the terminal."""

    def __init__(self, fold: Fold, clock: Callable[[], float]) -> None:
        self.fold = fold
        self._clock = clock

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the current state; the refreshing thread calls this while events arrive."""
        with self.fold.lock:
            drawn = self._draw(console, options.max_width, options.height or console.size.height)
        yield drawn

    def _draw(self, console: Console, width: int, height: int) -> Group:
        shown, rest = self._choose(max(height - FRAME_LINES, 3))
        table = self._columns(width)
        for host in shown:
            table.add_row(*self._row(host, console, width))
        return Group(table, *([Text(rest, "dim")] if rest else []), self._foot())

    def _columns(self, width: int) -> Table:
        table = Table(box=None, pad_edge=False, expand=True, padding=(0, 1, 0, 0), header_style="bold")
        name_width = max((len(one_line(host)) for host in self.fold.hosts), default=4)
        table.add_column("Host", no_wrap=True, width=min(name_width, _name_room(width)))
        if width < MEDIUM:
            table.add_column("", no_wrap=True, width=max(len(self.fold.phases), 1))
        else:
            letters = next(room for least, room in NAME_ROOM if width >= least)
            for phase in self.fold.phases:
                name = one_line(phase)[:letters]
                table.add_column(Text(name), no_wrap=True, min_width=3)
        table.add_column("Now", no_wrap=True, overflow="ellipsis", ratio=1)
        if width >= MEDIUM:
            table.add_column("Time", no_wrap=True, justify="right", min_width=6)
        return table

    def _row(self, host: str, console: Console, width: int) -> list[Text]:
        cells = [self.fold.cell(host, phase) for phase in self.fold.phases]
        known = middle(one_line(host), _name_room(width))
        name = Text(known, STYLE_BAD if self.fold.trouble(host) else "")
        if width < MEDIUM:
            strip = Text.assemble(*(symbol(cell.outcome, console) for cell in cells))
            return [name, strip, self._busy(host)]
        marks = [symbol(cell.outcome, console, _count(cell)) for cell in cells]
        now = self.fold.now(host)
        spent = duration(self._clock() - now.since) if now else ""
        return [name, *marks, self._busy(host), Text(spent, "dim")]

    def _busy(self, host: str) -> Text:
        trouble, now = self.fold.trouble(host), self.fold.now(host)
        if trouble:
            return host_text(trouble.message, STYLE_BAD, 300)
        if not now:
            return host_text(self.fold.left_out(host), "dim", 300)
        shown, task = progress(now.transfer, now.attempt, now.attempts), one_line(now.task)
        return Text.assemble(shown, (f"  {task}", "dim")) if shown else Text(task)

    def _choose(self, room: int) -> tuple[list[str], str]:
        """Choose the hosts that fit: those in trouble, then the busy, the waiting and the finished."""
        names = self.fold.hosts
        if len(names) <= room:
            return list(names), ""
        ranked = set(sorted(names, key=self._rank)[: room - 1])
        hidden = [name for name in names if name not in ranked]
        kinds = ("in trouble", "busy", "waiting", "finished")
        counts = [sum(self._rank(host) == rank for host in hidden) for rank in range(len(kinds))]
        rest = ", ".join(f"{count} {kind}" for count, kind in zip(counts, kinds, strict=True) if count)
        return [name for name in names if name in ranked], f"and {rest}"

    def _rank(self, host: str) -> int:
        if self.fold.trouble(host):
            return 0
        if self.fold.now(host):
            return 1
        phases = self.fold.phases
        return 2 if any(self.fold.cell(host, phase).outcome in (WAITING, RUNNING) for phase in phases) else 3

    def _foot(self) -> Text:
        begun, _ = self.fold.span
        stopped = sum(1 for host in self.fold.hosts if self.fold.trouble(host))
        parts = [one_line(self.fold.phase, 30) or "Starting", hosts(len(self.fold.hosts))]
        parts += [f"{stopped} stopped"] if stopped else []
        parts.append(duration(self._clock() - begun) if begun else duration(0))
        return Text(" · ".join(parts), "bold", overflow="ellipsis", no_wrap=True, end="")


class LiveScreen:
    """Show a run on a terminal: the table while it runs, the report when it has ended."""

    def __init__(
        self, console: Console, fold: Fold, *, ladder: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self._console = console
        self._ladder = ladder
        self._table = LiveTable(fold, clock)
        self._live = Live(self._table, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        """Start to draw."""
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing and restore the terminal, whatever happened."""
        self._live.stop()

    def event(self, event: Event) -> None:
        """Add an event, which the table shows at its next refresh."""
        self._table.fold.add(event)

    def finish(self, report: r.Report) -> None:
        """Replace the table with the report."""
        self._live.stop()
        show_report(report, self._console, ladder=self._ladder)


def export_svg(
    events: Iterable[Event],
    path: Path,
    *,
    hosts: Iterable[str] = (),
    phases: Iterable[str] = (),
    width: int = 100,
) -> None:
    """Write a picture of the live table after these events; it loads nothing from the network."""
    fold = Fold(hosts, phases)
    for event in events:
        fold.add(event)
    console = Console(record=True, width=width, height=40, file=io.StringIO(), force_terminal=True)
    console.print(LiveTable(fold, lambda: fold.span[1]))
    svg = WEB_FONT.sub("", console.export_svg(title="provision apply", unique_id="provision"))
    path.write_text(svg, encoding="utf-8")


def _name_room(width: int) -> int:
    return max(width // (3 if width < MEDIUM else 4), 8)


def _count(cell: r.Cell) -> int:
    return cell.changed if cell.outcome == r.CHANGED else 0
