# SPDX-License-Identifier: Apache-2.0
"""Offer the commands that work on hosts: apply, verify and remove."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from provisioner import fold, junit, plan, run, rundir
from provisioner.cli import options, screen
from provisioner.cli.options import Selection
from provisioner.errors import ConsentRequired, UsageError
from provisioner.events import Event
from provisioner.plan import Plan
from provisioner.report import Report
from provisioner.run import Request

_CONSENT = "provision_consent"
_YES = "Agree to restart serving engines, to remove things and to reboot."
_PHASE = "Run only this part; may be given several times. `provision plan` lists the parts."


@click.command()
@options.selection
@options.ansible
@click.option("--phase", "phases", multiple=True, metavar="NAME", help=_PHASE)
@click.option("-C", "--check", is_flag=True, help="Say what would change, and change nothing.")
@click.option("-D", "--diff", is_flag=True, help="Show how files change.")
@click.option("-y", "--yes", is_flag=True, help=_YES)
@options.as_json
def apply(as_json: bool, phases: tuple[str, ...], check: bool, diff: bool, yes: bool, **values: Any) -> int:
    """Make the hosts of INVENTORY serve what it says, and ask each a question."""
    work = _Work(values, as_json=as_json, phases=phases)
    report = work.run("site", {_CONSENT: yes or check}, check=check, diff=diff)
    needs = report.consent
    if needs and work.may_ask() and _agree(needs):
        hosts = ",".join(sorted({failure.host for failure in report.failures if failure.consent}))
        again = work.run("site", {_CONSENT: True}, check=check, diff=diff, limit=hosts)
        report_code = 1 if any(not failure.consent for failure in report.failures) else 0
        return work.finish(again) or report_code
    return work.finish(report)


@click.command()
@options.selection
@options.ansible
@click.option(
    "--junit", "junit_file", metavar="FILE", type=click.Path(dir_okay=False), help="Write JUnit XML here."
)
@options.as_json
def verify(as_json: bool, junit_file: str | None, **values: Any) -> int:
    """Ask every service of INVENTORY a question, and show the evidence that it is healthy."""
    work = _Work(values, as_json=as_json, phases=("verify",), ladder=True)
    report = work.run("site", {_CONSENT: False})
    if junit_file:
        Path(junit_file).write_text(junit.to_junit(report))
    return work.finish(report)


@click.command()
@options.selection
@options.ansible
@click.option("--models", is_flag=True, help="Remove the downloaded models too.")
@click.option("-C", "--check", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("-y", "--yes", is_flag=True, help="Agree to the removal.")
@options.as_json
def remove(as_json: bool, models: bool, check: bool, yes: bool, **values: Any) -> int:
    """Take from the hosts of INVENTORY what apply has put there; models stay unless --models is given."""
    work = _Work(values, as_json=as_json)
    needs = work.removals(models=models)
    if not yes and not check and not (work.may_ask() and _agree(needs)):
        raise ConsentRequired(needs)
    words = {_CONSENT: True, "provision_remove_models": models}
    return work.finish(work.run("remove", words, check=check))


class _Work:
    """Carry what the runs of one command share."""

    def __init__(
        self, values: dict[str, Any], *, as_json: bool, phases: tuple[str, ...] = (), ladder: bool = False
    ) -> None:
        self._selection: Selection = options.choose(values)
        self._forks: int | None = values.pop("forks")
        self._verbosity: int = values.pop("verbose")
        self._as_json = as_json
        self._ladder = ladder
        self._phases = phases
        self._plan: Plan = plan.make(self._selection.fleet(), phases)
        self._console = Console(stderr=as_json)

    def may_ask(self) -> bool:
        """Tell whether a person is there to answer."""
        return sys.stdin.isatty() and sys.stderr.isatty() and not self._as_json

    def removals(self, *, models: bool) -> list[str]:
        """Return what `remove` would take away, one line a host."""
        tail = ", and its downloaded models" if models else ""
        return [
            f"{host.name}: remove {', '.join(s.unit for s in host.services) or 'the base setup'}{tail}"
            for host in self._plan.fleet.hosts
        ]

    def run(
        self,
        playbook: str,
        words: dict[str, Any],
        *,
        check: bool = False,
        diff: bool = False,
        limit: str | None = None,
    ) -> Report:
        """Run the playbook, show it as it happens, and return its report; raises Interrupted at Ctrl-C."""
        chosen = self._selection
        request = Request(
            playbook=playbook,
            inventory=chosen.source,
            phases=self._phases,
            limit=limit or chosen.limit,
            extra_vars=chosen.extra_vars,
            check=check,
            diff=diff,
            forks=self._forks,
            verbosity=self._verbosity,
            vault_password_files=chosen.vault_password_files,
            words=tuple(words.items()),
            secrets=chosen.secrets,
        )
        run_dir = rundir.create()
        rundir.write(run_dir.plan, json.dumps(self._plan.to_json(), indent=2))
        hosts = tuple(
            host.name for host in self._plan.fleet.hosts if limit is None or host.name in limit.split(",")
        )
        titles = tuple(phase.title for phase in self._plan.phases) if playbook == "site" else ()
        folded = fold.Fold(hosts, titles)
        show = screen.make(self._console, hosts=hosts, phases=titles, diff=diff, ladder=self._ladder)

        def on_event(event: Event) -> None:
            folded.add(event)
            show.event(event)

        with show:
            outcome = run.execute(request, run_dir, on_event)
        report = folded.report(run=run_dir.id, log=str(run_dir.log))
        rundir.write(run_dir.report, report.to_json())
        show.finish(report)
        run.raise_if_interrupted(outcome)
        if outcome.returncode and not report.failures and not report.complete:
            raise UsageError(
                f"Ansible stopped before any host was reached: {_last_error(run_dir.log)}",
                f"see {run_dir.log}",
            )
        return report

    def finish(self, report: Report) -> int:
        """Print the document when asked for, and return the exit code."""
        if self._as_json:
            click.echo(report.to_json())
        if report.consent and report.exit_code == ConsentRequired.exit_code:
            raise ConsentRequired(report.consent)
        return report.exit_code


def _agree(needs: tuple[str, ...] | list[str]) -> bool:
    for need in needs:
        click.echo(f"  - {need}", err=True)
    return click.confirm("Go on with this?", err=True)


def _last_error(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if "ERROR" in line]
    return lines[-1].removeprefix("[ERROR]: ") if lines else "it gives no reason"
