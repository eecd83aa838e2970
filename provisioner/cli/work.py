# SPDX-License-Identifier: Apache-2.0
"""Run playbooks for a command: show progress, keep the run folder, and return the exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from provisioner.cli import options, screen
from provisioner.cli.options import Selection
from provisioner.errors import ConsentRequired, ProvisionError, UsageError
from provisioner.runs import fold, plan, retention, run, rundir
from provisioner.runs.plan import Plan
from provisioner.runs.report import Report
from provisioner.runs.run import Outcome, Request
from provisioner.runs.rundir import RunDir

CONSENT = "provision_consent"
SITE = "site"


class Work:
    """What the runs of one command share: the checked fleet, the options, the console."""

    def __init__(
        self, values: dict[str, Any], *, as_json: bool, phases: tuple[str, ...] = (), ladder: bool = False
    ) -> None:
        self._selection: Selection = options.choose(values)
        self._forks: int | None = values.pop("forks")
        self._verbosity: int = values.pop("verbose")
        self._as_json = as_json
        self._ladder = ladder
        self._phases = phases
        self.plan: Plan = plan.make(self._selection.fleet(), phases)
        self._console = Console(stderr=as_json)

    def may_ask(self) -> bool:
        """Return whether there is a person who can answer."""
        return sys.stdin.isatty() and sys.stderr.isatty() and not self._as_json

    def run(
        self,
        playbook: str,
        variables: dict[str, Any],
        *,
        check: bool = False,
        diff: bool = False,
        only: tuple[str, ...] = (),
    ) -> Report:
        """Run the playbook on all chosen hosts or `only` on some, show it as it happens, return its report.

        Raises Interrupted at Ctrl-C, and UsageError when Ansible refused to start.
        """
        chosen = self._selection
        request = Request(
            playbook=playbook,
            inventory=chosen.source,
            phases=self._phases,
            limit=",".join(only) or chosen.limit,
            extra_vars=chosen.extra_vars,
            check=check,
            diff=diff,
            forks=self._forks,
            verbosity=self._verbosity,
            vault_password_files=chosen.vault_password_files,
            variables=tuple(variables.items()),
            secrets=chosen.secrets,
        )
        run_dir = self._begin()
        report, outcome = self._execute(request, run_dir, only)
        if outcome.interrupted and self._as_json:
            click.echo(report.to_json(), nl=False)
        run.raise_if_interrupted(outcome)
        if outcome.returncode and not report.complete and not report.failures:
            why, step = _last_error(run_dir.log), f"see {run_dir.log}"
            if any(cell.tasks for host in report.hosts for cell in host.cells):
                raise ProvisionError(f"Ansible stopped during the run: {why}", f"{step}, then run it again")
            raise UsageError(f"Ansible stopped before any host was reached: {why}", step)
        return report

    def _begin(self) -> RunDir:
        """Return the folder of a new run with its plan, and remove runs that need not be kept."""
        run_dir = rundir.create()
        rundir.write(run_dir.plan, json.dumps(self._kept(), indent=2))
        retention.prune()
        return run_dir

    def _kept(self) -> dict[str, Any]:
        """Return the plan as the run folder keeps it, with a path that is valid in every folder."""
        source = self.plan.fleet.source
        whole = source if "," in source else str(Path(source).absolute())
        return {**self.plan.to_json(), "inventory": whole}

    def _execute(self, request: Request, run_dir: RunDir, only: tuple[str, ...]) -> tuple[Report, Outcome]:
        """Run Ansible with the screen, and write the report."""
        hosts = only or tuple(host.name for host in self.plan.fleet.hosts)
        site = tuple(phase.title for phase in self.plan.phases)
        phases = site if request.playbook == SITE else (request.playbook.capitalize(),)
        folded = fold.Fold(hosts, phases)
        show = screen.make(self._console, folded, diff=request.diff, ladder=self._ladder)
        with show:
            outcome = run.execute(request, run_dir, show.event)
        report = folded.report(run=run_dir.id, log=str(run_dir.log))
        rundir.write(run_dir.report, report.to_json())
        show.finish(report)
        return report, outcome

    def finish(self, report: Report) -> int:
        """Print the report if --json is given, and return the exit code; raises ConsentRequired."""
        if self._as_json:
            click.echo(report.to_json(), nl=False)
        if report.exit_code == ConsentRequired.exit_code:
            raise ConsentRequired(report.consent)
        return report.exit_code


def agree(needs: Iterable[str]) -> bool:
    """Ask the person at the terminal to agree to all of `needs`."""
    for need in needs:
        click.echo(f"  - {need}", err=True)
    return click.confirm("Continue?", err=True)


def _last_error(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if "ERROR" in line]
    return lines[-1].removeprefix("[ERROR]: ") if lines else "no reason given"
