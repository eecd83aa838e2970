# SPDX-License-Identifier: Apache-2.0
"""Print an expected failure: what happened, where, and what to do next."""

from __future__ import annotations

import click

from provisioner.errors import ConsentRequired, InventoryError, Problem, ProvisionError
from provisioner.plain import clean

_MOST_HOSTS = 5


def show_error(error: ProvisionError) -> None:
    """Print `error` on standard error."""
    click.secho(f"error: {clean(error.message)}", fg="red", err=True)
    if isinstance(error, InventoryError):
        for problem in error.problems:
            click.echo(problem_text(problem), err=True)
    if isinstance(error, ConsentRequired):
        for need in error.needs:
            click.echo(f"  - {clean(need)}", err=True)
    if error.next_step:
        click.echo(f"next: {clean(error.next_step)}", err=True)


def problem_text(problem: Problem) -> str:
    """Return the lines that describe one problem of an inventory."""
    value = f" = {problem.value}" if problem.has_value else ""
    hint = f"; {problem.hint}" if problem.hint else ""
    shown = ", ".join(problem.hosts[:_MOST_HOSTS])
    more = len(problem.hosts) - _MOST_HOSTS
    hosts = f"{shown} and {more} more" if more > 0 else shown
    return clean(f"  {problem.origin}\n    {problem.variable}{value}: {problem.reason}{hint}\n    on {hosts}")
