# SPDX-License-Identifier: Apache-2.0
"""The command `runs`: what earlier runs did, from their run folders."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from provisioner.cli import options
from provisioner.cli.screen.report import show_report
from provisioner.errors import UsageError
from provisioner.runs import rundir
from provisioner.runs.report import Report
from provisioner.runs.rundir import RunDir

LATEST = "latest"


@click.group(invoke_without_command=True)
@click.pass_context
def runs(context: click.Context) -> int:
    """Show what earlier runs did."""
    return _list() if context.invoked_subcommand is None else 0


@runs.command("list")
def list_runs() -> int:
    """List the runs that are kept, the newest first."""
    return _list()


@runs.command()
@click.argument("run", default=LATEST)
@options.as_json
def show(run: str, as_json: bool) -> int:
    """Show the report of RUN: its id, a part of it that is unique, or `latest`.

    The latest is the last one with a report: a run that is under way is passed over.
    """
    found = rundir.find(run)
    report = _report(found)
    if report is None and run == LATEST:
        found, report = _last_reported(found)
    if report is None:
        raise UsageError(
            f"run {found.id} has no readable report: it is still running, was killed or is too old",
            f"its events are in {found.events}",
        )
    if as_json:
        click.echo(report.to_json())
    else:
        show_report(report, Console(), ladder=bool(report.rungs))
    return 0


def _last_reported(newest: RunDir) -> tuple[RunDir, Report | None]:
    """Return the last run with a report, and say which newer one has none; without any, the newest run."""
    for found in rundir.runs():
        if (report := _report(found)) is not None:
            click.echo(
                f"run {newest.id} has no report, it is still running or was killed; this is {found.id}",
                err=True,
            )
            return found, report
    return newest, None


def _report(found: RunDir) -> Report | None:
    """Return the report of a run, or None when it has no readable one."""
    try:
        return Report.from_json(found.report.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _list() -> int:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("run", "hosts", "changed", "failed", "seconds", "result"):
        table.add_column(title)
    for found in rundir.runs():
        table.add_row(*map(Text, _row(found)))
    Console().print(table if table.row_count else "no runs yet")
    return 0


def _row(found: RunDir) -> tuple[str, ...]:
    report = _report(found)
    if report is None:
        return found.id, "", "", "", "", "no report"
    result = {0: "done", 1: "failed", 2: "needs consent"}[report.exit_code]
    failed = len({failure.host for failure in report.failures})
    return found.id, str(len(report.hosts)), str(report.changed), str(failed), f"{report.seconds:.0f}", result
