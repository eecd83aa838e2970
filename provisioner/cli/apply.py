# SPDX-License-Identifier: Apache-2.0
"""The commands that change or check hosts: apply, verify and remove."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from provisioner.cli import options
from provisioner.cli.work import CONSENT, SITE, Work, agree
from provisioner.errors import ConsentRequired
from provisioner.runs import junit

_YES = "Allow restarts of running engines, removals and reboots."
_PHASE = "Run only this phase; may be given several times. `provision plan` lists the phases."


@click.command()
@options.selection
@options.ansible
@click.option("--phase", "phases", multiple=True, metavar="NAME", help=_PHASE)
@click.option("-C", "--check", is_flag=True, help="Show what would change, without changing anything.")
@click.option("-D", "--diff", is_flag=True, help="Show how files change.")
@click.option("-y", "--yes", is_flag=True, help=_YES)
@options.as_json
def apply(as_json: bool, phases: tuple[str, ...], check: bool, diff: bool, yes: bool, **values: Any) -> int:
    """Set up the hosts of INVENTORY, start their services and ask each one a question."""
    work = Work(values, as_json=as_json, phases=phases)
    report = work.run(SITE, {CONSENT: yes or check}, check=check, diff=diff)
    if not report.consent or not work.may_ask() or not agree(report.consent):
        return work.finish(report)
    waiting = tuple(dict.fromkeys(failure.host for failure in report.failures if failure.consent))
    others_failed = any(not failure.consent for failure in report.failures)
    return work.finish(work.run(SITE, {CONSENT: True}, diff=diff, only=waiting)) or int(others_failed)


@click.command()
@options.selection
@options.ansible
@click.option(
    "--junit", "junit_file", metavar="FILE", type=click.Path(dir_okay=False), help="Write JUnit XML here."
)
@click.option("--deep", is_flag=True, help="Read every byte of the models, too.")
@options.as_json
def verify(as_json: bool, junit_file: str | None, deep: bool, **values: Any) -> int:
    """Ask every service of INVENTORY a question, and show the evidence that it is healthy."""
    work = Work(values, as_json=as_json, ladder=True)
    report = work.run("verify", {CONSENT: False, "provision_deep": deep})
    if junit_file:
        Path(junit_file).write_text(junit.to_junit(report))
    return work.finish(report)


@click.command()
@options.selection
@options.ansible
@click.option("--models", is_flag=True, help="Remove the downloaded models too.")
@click.option("-C", "--check", is_flag=True, help="Show what would be removed, without removing anything.")
@click.option("-y", "--yes", is_flag=True, help="Agree to the removal.")
@options.as_json
def remove(as_json: bool, models: bool, check: bool, yes: bool, **values: Any) -> int:
    """Remove from the hosts of INVENTORY what apply has installed; models stay unless --models is given."""
    limit = values["limit"]
    work = Work(values, as_json=as_json)
    tail = ", and its downloaded models" if models else ""
    needs = [
        f"{host.name}: remove {', '.join(s.unit for s in host.services) or 'the base setup'}{tail}"
        for host in work.plan.fleet.hosts
        if limit or not host.is_bare
    ]
    if not yes and not check and not (work.may_ask() and agree(needs)):
        raise ConsentRequired(needs)
    variables = {CONSENT: True, "provision_remove_models": models}
    return work.finish(work.run("remove", variables, check=check))
