# SPDX-License-Identifier: Apache-2.0
"""Draw the report of a run that has ended: outcomes, failures with next steps, the ladder, the answers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from provisioner.cli.screen.text import duration, host_text, hosts, legend, replace_unencodable, symbol
from provisioner.plain import clean, one_line
from provisioner.runs import report as r
from provisioner.runs.failures import cause

MANY_HOSTS = 30
NARROW = 60
MESSAGE_LINES = 30
RUNG_WIDTH = max(len(name) for name in r.RUNGS)
QUIET = (r.OK, r.SKIPPED)


def show_report(report: r.Report, console: Console, *, ladder: bool = False) -> None:
    """Print the report; with `ladder` each rung of the verification, else only the failed ones."""
    replace_unencodable(console)
    _matrix(report, console)
    rungs = _rungs(report, console, every=ladder)
    sections = (rungs, _answers(report), _warnings(report), _skipped(report), _failures(report))
    for section in sections:
        lines = list(section)
        if lines:
            console.print()
        for line in lines:
            console.print(line, soft_wrap=True, highlight=False)
    console.print()
    for line in _end(report):
        console.print(line, soft_wrap=True, highlight=False)


def _matrix(report: r.Report, console: Console) -> None:
    shown = [host for host in report.hosts if len(report.hosts) <= MANY_HOSTS or host.outcome not in QUIET]
    strip = console.width < NARROW
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("Host", overflow="fold")
    for phase in [""] if strip else report.phases:
        table.add_column(host_text(phase, limit=12), no_wrap=True)
    for host in shown:
        marks = [symbol(cell.outcome, console, _count(cell, strip)) for cell in host.cells]
        table.add_row(host_text(host.name), *([Text.assemble(*marks)] if strip else marks))
    if shown:
        console.print(table)
    if hidden := len(report.hosts) - len(shown):
        console.print(Text(f"{hosts(hidden)}{' more' if shown else ''}: ok, nothing changed"))
    found = {cell.outcome for host in shown for cell in host.cells}
    console.print(legend(found, console), style="dim", soft_wrap=True)


def _count(cell: r.Cell, strip: bool) -> int:
    return cell.changed if cell.outcome == r.CHANGED and not strip else 0


def _rungs(report: r.Report, console: Console, *, every: bool) -> Iterator[Text]:
    kept = [rung for rung in report.rungs if every or rung.status == r.FAILED]
    for (host, service), rungs in groupby(kept, key=lambda rung: (rung.host, rung.service)):
        yield host_text(f"{host} · {service}" if service else host, "bold")
        for rung in rungs:
            note = "not applicable: " if rung.status == "not applicable" else ""
            mark, name = symbol(rung.status, console), one_line(rung.rung, 20)
            yield Text.assemble("  ", mark, f" {name:<{RUNG_WIDTH}} ", host_text(note + rung.evidence))
            if rung.next and rung.status == r.FAILED:
                yield _next(rung.next, RUNG_WIDTH + 5)


def _answers(report: r.Report) -> Iterator[Text]:
    question = ""
    for answer in report.answers:
        if answer.question != question:
            question = answer.question
            yield host_text(question, "italic", 300)
        speed = []
        if answer.ttft_s is not None:
            speed.append(f"TTFT {answer.ttft_s:.2f} s")
        if answer.tokens_per_s is not None:
            speed.append(f"{answer.tokens_per_s:.0f} tok/s")
        head = host_text(f"{answer.host} · {answer.service}: ", "bold", 300)
        text = host_text(f"'{answer.text.strip()}'", "green", 500)
        yield Text.assemble(head, " ", text, ("  " + ", ".join(speed) if speed else "", "dim"))


def _warnings(report: r.Report) -> Iterator[Text]:
    for warning in report.warnings:
        yield Text.assemble(("! ", "yellow"), host_text(f"{warning.host} · {warning.text}"))


def _skipped(report: r.Report) -> Iterator[Text]:
    for host in report.skipped:
        yield Text.assemble(("skipped ", "bold"), host_text(host.name, "bold"))
        yield Text.assemble("  ", host_text(host.skipped))


def _failures(report: r.Report) -> Iterator[Text]:
    for failure in report.failures:
        item = f" · {failure.item}" if failure.item else ""
        place = f"{failure.host} · {failure.phase} · {failure.task}{item}"
        mark = "consent needed " if failure.consent else "failed "
        mark = "unreachable " if failure.kind == r.UNREACHABLE else mark
        head = Text.assemble((mark, "bold red"), host_text(place, "bold"))
        if failure.where:
            head.append(" ").append(host_text(f"({failure.where})", "dim"))
        yield head
        for line in _message(cause(failure)):
            yield Text(f"  {line}")
        if failure.detail:
            count = len(failure.detail.splitlines())
            yield Text(f"  (its output, {count} line{'' if count == 1 else 's'}, is in the log)", "dim")
        for need in failure.consent:
            yield Text.assemble("  would ", host_text(need))
        if failure.next:
            yield _next(failure.next, 2)


def _message(message: str) -> list[str]:
    lines = clean(message).splitlines()
    if len(lines) <= MESSAGE_LINES:
        return lines
    return [lines[0], f"… {len(lines) - MESSAGE_LINES} lines left out …", *lines[1 - MESSAGE_LINES :]]


def _next(step: str, indent: int) -> Text:
    return Text.assemble(" " * indent, ("next: ", "bold cyan"), host_text(step))


def _end(report: r.Report) -> Iterator[Text]:
    if report.exit_code == 1 and report.log:
        yield Text.assemble(("log: ", "bold"), host_text(report.log))
    if report.run:
        yield Text.assemble(("run: ", "bold"), host_text(report.run))
    times = ", ".join(f"{phase.phase} {duration(phase.seconds)}" for phase in report.phase_times)
    if times:
        yield Text.assemble(("time: ", "bold"), host_text(times))
    bad = sum(1 for host in report.hosts if any(failure.host == host.name for failure in report.failures))
    parts = [
        hosts(len(report.hosts)),
        f"{report.changed} {'would change' if report.check else 'changed'}",
    ]
    parts += [f"{bad} stopped"] if bad else []
    parts += [f"{len(report.skipped)} skipped"] if report.skipped else []
    parts += [f"{len(report.missed)} not reached"] if report.missed and report.complete else []
    parts += [] if report.complete else ["cut short"]
    style = {0: "bold green", 1: "bold red", 2: "bold yellow"}[report.exit_code]
    verdict = {0: "done", 1: "failed", 2: "waits for consent"}[report.exit_code]
    yield Text(f"{verdict}: {', '.join(parts)}, {duration(report.seconds)}", style)
