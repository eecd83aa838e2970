# SPDX-License-Identifier: Apache-2.0
"""The command `lab`: throwaway hosts on this machine, described by the group `lab` of an inventory."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from provisioner import content
from provisioner.cli import options
from provisioner.errors import UsageError
from provisioner.fleet import inventory
from provisioner.lab import lifecycle
from provisioner.lab.report import LabReport
from provisioner.lab.spec import DEFAULT_LAB

GROUP = "lab"

_source = click.argument("source", metavar="[INVENTORY]", required=False)


@click.group()
def lab() -> None:
    """Start, show and remove throwaway hosts, to try everything without a real machine."""


@lab.command()
@_source
@options.as_json
def up(source: str | None, as_json: bool) -> int:
    """Start the lab hosts of INVENTORY (default: the one shipped with the tool); reuse those that exist."""
    path = source or str(content.lab_inventory())
    with _interruptible():
        report = lifecycle.up(_hosts(path), say=_say)
    _show(report, as_json=as_json)
    if not as_json:
        click.echo(f"the hosts are ready: provision apply {path} --yes")
    return 0


@lab.command()
@_source
@click.option(
    "--purge", is_flag=True, help="Remove images, keys, the package cache and the hub's models too."
)
def down(source: str | None, purge: bool) -> int:
    """Remove the lab hosts of INVENTORY."""
    with _interruptible():
        lifecycle.down(_name(source), purge=purge, say=_say)
    return 0


@lab.command()
@_source
@options.as_json
def status(source: str | None, as_json: bool) -> int:
    """Show which lab hosts exist; exit code 1 when some do not run."""
    report = lifecycle.status(_name(source))
    _show(report, as_json=as_json)
    return 0 if report.is_up else 1


@contextmanager
def _interruptible() -> Iterator[None]:
    """Treat a closed terminal and `kill` like Ctrl-C, so that they too leave nothing half-made."""
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]

    def stop(*_: object) -> NoReturn:
        # Both arrive when a login session ends; the second must not interrupt the cleanup.
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _hosts(path: str) -> dict[str, dict[str, Any]]:
    found = inventory.load(path)
    hosts = {name: dict(found.hosts[name]) for name, groups in found.groups.items() if GROUP in groups}
    if not hosts:
        raise UsageError(
            f"{path} has no host in the group [{GROUP}]", "put the throwaway hosts into that group"
        )
    return hosts


def _name(source: str | None) -> str:
    hosts = _hosts(source or str(content.lab_inventory()))
    return str(next(iter(hosts.values())).get("lab_name", DEFAULT_LAB))


def _show(report: LabReport, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(report), indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("host", "port", "state", "systemd", "image"):
        table.add_column(title)
    for host in (*report.hosts, *filter(None, [report.hub])):
        table.add_row(*map(Text, (host.name, str(host.port), host.state, host.systemd, host.image)))
    console = Console()
    console.print(table)
    for step, seconds in report.timings:
        console.print(Text(f"{seconds:7.1f} s  {step}"))
