# SPDX-License-Identifier: Apache-2.0
"""Choose how a run is shown: a live table on a terminal, plain lines elsewhere. It only draws."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console

from provisioner.cli.screen.live import LiveScreen, LiveTable
from provisioner.cli.screen.plain import PlainScreen
from provisioner.cli.screen.report import show_report
from provisioner.runs.events import Event
from provisioner.runs.fold import Fold
from provisioner.runs.report import Report

__all__ = ["Screen", "export_svg", "make", "show_report"]
WEB_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


class Screen(Protocol):
    """Show a run: enter it, give it each event, finish it with the report."""

    def __enter__(self) -> Self:
        """Start to show the run."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the terminal, whatever happened."""

    def event(self, event: Event) -> None:
        """Show one event."""

    def finish(self, report: Report) -> None:
        """Show the results of the run."""


def make(console: Console, fold: Fold, *, diff: bool = False, ladder: bool = False) -> Screen:
    """Return the screen that suits the console; diffs are lines, so they go with plain lines only.

    The caller adds each event to `fold`, which the live table draws, before it gives it to the screen.
    """
    if console.is_terminal and not console.is_dumb_terminal and not diff:
        return LiveScreen(console, fold, ladder=ladder)
    return PlainScreen(console, diff=diff, ladder=ladder)


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
