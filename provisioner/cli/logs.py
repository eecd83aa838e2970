# SPDX-License-Identifier: Apache-2.0
"""The command `logs`: what the services of a host have written to its journal."""

from __future__ import annotations

import re
import shlex
from typing import Any

import click

from provisioner.cli import hosts, options
from provisioner.errors import HostError
from provisioner.plain import clean
from provisioner.remote.ssh import Command, Remote

_SPAN = re.compile(r"(\d+\s*[a-z]+\s*)+")


@click.command()
@options.inventory_only
@click.argument("target", metavar="HOST[/SERVICE]")
@click.option("-f", "--follow", is_flag=True, help="Show new lines as they are written, until Ctrl-C.")
@click.option(
    "--since", metavar="WHEN", help="Start here: 10m, 2h, today, or '2026-05-17 09:00' (the host's own time)."
)
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    help="How many of the last lines to show; 100 unless --since is given.",
)
def logs(target: str, follow: bool, since: str | None, lines: int | None, **values: Any) -> int:
    """Show the journal of HOST's services, or of one of them; INVENTORY comes first."""
    way, services = hosts.target(values, target)
    arguments = ["journalctl", "--no-pager", "--quiet", "--output=short-iso"]
    arguments += [f"--unit={service.unit}" for service in services]
    if since:
        arguments.append(f"--since={_since(since)}")
    if lines is not None or not since:
        arguments.append(f"--lines={100 if lines is None else lines}")
    if follow:
        arguments.append("--follow")
    last = ""
    with Remote(way) as remote:
        try:
            for line in remote.lines(Command(shlex.join(arguments), as_root=True)):
                last = line
                click.echo(clean(line))
        except HostError as error:
            raise HostError(f"{way.host}: {error.message}", error.next_step) from error
    if not last:
        click.echo(f"{way.host}: the journal has no such lines", err=True)
    return 0


def _since(text: str) -> str:
    """Return the time as journalctl reads it: a span counts back from now."""
    return f"-{text}" if _SPAN.fullmatch(text) else text
