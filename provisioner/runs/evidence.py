# SPDX-License-Identifier: Apache-2.0
"""Read what earlier runs of an inventory recorded: when they ran, and what they found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from provisioner.runs import rundir
from provisioner.runs.report import Replaced, Report
from provisioner.runs.rundir import RunDir


def runs_of(inventory: str) -> Iterator[tuple[RunDir, Report]]:
    """Yield the runs of an inventory with their reports, the newest first; damaged ones are skipped."""
    for run in rundir.runs():
        try:
            source = json.loads(run.plan.read_text())["inventory"]
            report = Report.from_json(run.report.read_text())
        except (OSError, ValueError, KeyError):
            continue
        if Path(source).resolve() == Path(inventory).resolve():
            yield run, report


def drivers(inventory: str, hosts: Sequence[str]) -> dict[str, str]:
    """Return the GPU driver that the last run found on each host; hosts without one are left out."""
    found: dict[str, str | None] = {}
    for _, report in runs_of(inventory):
        for driver in report.drivers:
            found.setdefault(driver.host, driver.installed)
        if set(hosts) <= set(found):
            break
    return {host: version for host in hosts if (version := found.get(host))}


def replaced(inventory: str, hosts: Sequence[str]) -> list[Replaced]:
    """Return the units that ran with replaced files when a run last looked at each host."""
    found: list[Replaced] = []
    unseen = set(hosts)
    for _, report in runs_of(inventory):
        found += [one for one in report.replaced if one.libraries and one.host in unseen]
        unseen -= {driver.host for driver in report.drivers} | {one.host for one in report.replaced}
        if not unseen:
            break
    return found
