# SPDX-License-Identifier: Apache-2.0
"""Show a run: live on a terminal, line by line elsewhere; it only draws."""

from __future__ import annotations

from rich.console import Console

from provisioner.cli.screen.live import LiveScreen
from provisioner.cli.screen.plain import PlainScreen
from provisioner.runs.fold import Fold


def make(
    console: Console, fold: Fold, *, diff: bool = False, ladder: bool = False
) -> LiveScreen | PlainScreen:
    """Return the screen that suits the console; diffs are lines, so they go with plain lines only.

    The caller enters it, gives it each event, which it adds to `fold`, and finishes it with the report.
    """
    if console.is_terminal and not console.is_dumb_terminal and not diff:
        return LiveScreen(console, fold, ladder=ladder)
    return PlainScreen(console, fold, diff=diff, ladder=ladder)
