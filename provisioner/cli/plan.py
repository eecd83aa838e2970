# SPDX-License-Identifier: Apache-2.0
"""The command `plan`: check an inventory and show what apply would do, without contacting a host."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from provisioner.cli import options
from provisioner.cli.screen import text
from provisioner.fleet import variables
from provisioner.fleet.services import Profile, Service
from provisioner.fleet.spec import Host
from provisioner.runs import plan as planning
from provisioner.runs.plan import Plan

NO_TERMINAL_COLUMNS = 200
# Enough of a commit or a digest to recognise it; --json has all of it.
SHOWN_DIGITS = 12
_DIGEST = re.compile(r"[0-9a-f]{40,64}")


@click.command()
@options.selection
@click.option("--phase", "phases", multiple=True, metavar="NAME", help="Plan only this phase.")
@options.as_json
def plan(as_json: bool, phases: tuple[str, ...], **chosen: Any) -> int:
    """Check INVENTORY and show what apply would do; no host is contacted."""
    made = planning.make(options.choose(chosen).fleet(), phases)
    if as_json:
        click.echo(json.dumps(made.to_json(), indent=2))
    else:
        _show(made, _console())
    return 0


def _console() -> Console:
    """Return a console with the width of the terminal; a file or a pipe has none, so it gets a wide one."""
    console = Console()
    return console if console.is_terminal else Console(width=NO_TERMINAL_COLUMNS)


def _show(made: Plan, console: Console) -> None:
    hosts = made.fleet.hosts
    count = sum(len(host.services) for host in hosts)
    order = " → ".join(phase.name for phase in made.phases)
    console.print(Text(f"{text.hosts(len(hosts))}, {count} service{'' if count == 1 else 's'}: {order}"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("host", "unit", "model", "from", "listens on"):
        table.add_column(title, overflow="fold")
    for host in hosts:
        for row in _rows(host):
            table.add_row(*map(Text, row))
    console.print(table)
    for line in (*_chains(made), *_profiles(made)):
        console.print(Text(line))
    for change in made.changes:
        console.print(Text(f"change: {change}", style="bold"))
    for warning in made.warnings:
        console.print(Text(f"note: {warning}", style="yellow"))


def _chains(made: Plan) -> Iterator[str]:
    """Yield the driver, CUDA toolkits and engines of hosts, once for all hosts with the same ones."""
    seen: dict[str, list[str]] = {}
    for host in (host for host in made.fleet.hosts if not host.is_bare):
        seen.setdefault(str(host.compatibility), []).append(host.name)
    yield from (f"{planning.some(hosts)}: {chain}" for chain, hosts in seen.items())


def _profiles(made: Plan) -> Iterator[str]:
    """Yield what profiles set, once for all hosts where they set the same."""
    seen: dict[tuple[str, ...], list[str]] = {}
    for host in made.fleet.hosts:
        for service in host.services:
            if service.profile:
                seen.setdefault((service.unit, *_settings(service.profile)), []).append(host.name)
    for (unit, *settings), hosts in seen.items():
        yield f"{unit} on {planning.some(hosts)}"
        yield from (f"  {setting}" for setting in settings)


def _settings(profile: Profile) -> Iterator[str]:
    if variables.is_deferred(profile.name):
        yield "profile decided at run time"
    for variable, value in profile.sets.items():
        yield f"profile {profile.name} sets {variable} = {text.value(value)}"
    for variable, value in profile.overruled.items():
        yield f"{variable} = {text.value(value)} is set in the inventory"


def _rows(host: Host) -> list[tuple[str, str, str, str, str]]:
    where = f"{host.name}"
    if not host.services:
        deferred = {"serve_engine", "serve_services"} & set(host.templated)
        says = "left alone" if host.is_bare else "decided at run time" if deferred else "no service"
        return [(where, says, "", "", "")]
    return [
        (where if number == 0 else "", *_service(service)) for number, service in enumerate(host.services)
    ]


def _service(service: Service) -> tuple[str, str, str, str]:
    model = service.model
    revision = model.revision[:SHOWN_DIGITS] if _DIGEST.fullmatch(model.revision) else model.revision
    source = f"{model.source} @ {revision}" if revision else model.source
    unit = service.unit.removesuffix(".service")
    port = service.port or "(run time)"
    places = (f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in service.listens_on)
    return unit, model.name, source, " ".join(places)
