# SPDX-License-Identifier: Apache-2.0
"""Offer `plan`: check an inventory and say what apply would do, without contacting a host."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from provisioner import plan as planning
from provisioner.cli import options
from provisioner.plan import Plan
from provisioner.services import Service
from provisioner.spec import Host


@click.command()
@options.selection
@click.option("--phase", "phases", multiple=True, metavar="NAME", help="Plan only this part.")
@options.as_json
def plan(as_json: bool, phases: tuple[str, ...], **values: Any) -> int:
    """Check INVENTORY and say what apply would do; no host is contacted."""
    made = planning.make(options.choose(values).fleet(), phases)
    if as_json:
        click.echo(json.dumps(made.to_json(), indent=2))
    else:
        _show(made, Console())
    return 0


def _show(made: Plan, console: Console) -> None:
    hosts = made.fleet.hosts
    count = sum(len(host.services) for host in hosts)
    order = " → ".join(phase.name for phase in made.phases)
    console.print(Text(f"{len(hosts)} hosts, {count} services: {order}"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("host", "unit", "model", "from", "listens on"):
        table.add_column(title, overflow="fold")
    for host in hosts:
        for row in _rows(host):
            table.add_row(*map(Text, row))
    console.print(table)
    for warning in made.warnings:
        console.print(Text(f"note: {warning}", style="yellow"))


def _rows(host: Host) -> list[tuple[str, str, str, str, str]]:
    where = f"{host.name}"
    if not host.services:
        says = "decided at run time" if "serve_services" in host.templated else "no service"
        return [(where, says, "", "", "")]
    return [
        (where if number == 0 else "", *_service(service)) for number, service in enumerate(host.services)
    ]


def _service(service: Service) -> tuple[str, str, str, str]:
    model = service.model
    source = model.source if model.source == "path" else f"{model.source} @ {model.revision}"
    return service.unit, model.name, source, f"{service.address}:{service.port or '(run time)'}"
