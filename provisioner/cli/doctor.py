# SPDX-License-Identifier: Apache-2.0
"""The command `doctor`: what could keep this machine and the hosts from working, each with its fix."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from provisioner.cli import hosts, options
from provisioner.cli.screen import text as screen_text
from provisioner.errors import HostError
from provisioner.plain import one_line
from provisioner.remote import doctor as judgement
from provisioner.remote import parallel
from provisioner.remote.doctor import Finding
from provisioner.remote.reach import Way
from provisioner.remote.ssh import Remote

MARKS = {
    judgement.OK: ("ok   ", "green"),
    judgement.NOTE: ("note ", "yellow"),
    judgement.WRONG: ("wrong", "red"),
}


@click.command()
@options.selection
@options.at_once(60)
@options.as_json
def doctor(as_json: bool, forks: int, timeout: float, **values: Any) -> int:
    """Examine this machine and the hosts of INVENTORY; exit code 1 when something is wrong.

    Nothing is changed anywhere.
    """
    ways = hosts.ways(values)
    found = judgement.controller(ways)
    if not as_json:
        _show(found)

    def inspect(way: Way) -> list[Finding]:
        with Remote(way) as remote:
            return judgement.judge(way, judgement.inspect(remote, timeout))

    for way, result in parallel.each(ways, inspect, seconds=timeout + hosts.LOGIN_SECONDS, at_once=forks):
        findings = [judgement.unreachable(way, result)] if isinstance(result, HostError) else result
        found += findings
        if not as_json:
            _show(findings)
    wrong = sum(1 for finding in found if finding.level == judgement.WRONG)
    if as_json:
        findings_json = [dataclasses.asdict(finding) for finding in found]
        click.echo(json.dumps({"schema": 1, "wrong": wrong, "findings": findings_json}, indent=2))
    else:
        verdict = f"{wrong} problem{'s' if wrong != 1 else ''}" if wrong else "no problems"
        click.secho(
            f"{screen_text.hosts(len(ways))} examined: {verdict}", bold=True, fg="red" if wrong else "green"
        )
    return int(bool(wrong))


def _show(findings: list[Finding]) -> None:
    for finding in findings:
        mark, colour = MARKS[finding.level]
        fix = f" — fix: {finding.fix}" if finding.fix else ""
        text = one_line(f"{finding.host}: {finding.check}: {finding.says}{fix}", 900)
        click.echo(f"{click.style(mark, fg=colour)}  {text}")
