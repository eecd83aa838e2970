# SPDX-License-Identifier: Apache-2.0
"""The command `status`: the current state of hosts, GPUs, services and models."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from provisioner.cli import hosts, options
from provisioner.cli.screen import text as screen_text
from provisioner.cli.screen.text import duration, host_text, replace_unencodable, size
from provisioner.errors import HostError
from provisioner.remote import parallel
from provisioner.remote import status as state
from provisioner.remote.reach import Way
from provisioner.remote.ssh import Remote
from provisioner.remote.status import HostStatus, LastRun, ServiceStatus

STYLES = {state.SERVING: "green", state.STARTING: "yellow"}
DAY_S = 86400


@click.command()
@options.selection
@click.option("-w", "--watch", is_flag=True, help="Refresh until Ctrl-C.")
@click.option(
    "--every",
    type=click.FloatRange(min=0.5),
    default=2.0,
    show_default=True,
    help="Seconds between refreshes.",
)
@options.at_once(30)
@options.as_json
def status(as_json: bool, watch: bool, every: float, forks: int, timeout: float, **values: Any) -> int:
    """Show the state of the hosts of INVENTORY: services, models, GPUs, uptime, last run.

    Exit code 1 unless every host answers and every service serves.
    """
    source = values["source"]
    with contextlib.ExitStack() as stack:
        remotes = [stack.enter_context(Remote(way)) for way in hosts.ways(values)]
        query = _Query(source, remotes, forks, timeout)
        if not watch:
            found = query()
            _print(found, as_json=as_json)
            return int(not all(host.is_well for host in found))
        _watch(query, every, as_json=as_json)
    return 0


class _Query:
    """Query all hosts once per call; connections stay open from one call to the next."""

    def __init__(self, source: str, remotes: Sequence[Remote], forks: int, timeout: float) -> None:
        self._source, self._remotes = source, remotes
        self._forks, self._timeout = forks, timeout

    def __call__(self) -> tuple[HostStatus, ...]:
        names = [remote.way.host for remote in self._remotes]
        runs = state.last_runs(self._source, names)
        limit = self._timeout + hosts.LOGIN_SECONDS
        found = dict(self._answers(runs, limit))
        return tuple(found[name] for name in names)

    def _answers(self, runs: dict[str, LastRun], limit: float) -> Iterator[tuple[str, HostStatus]]:
        def inspect(remote: Remote) -> dict[str, Any]:
            return state.inspect(remote, self._timeout)

        for remote, answer in parallel.each(self._remotes, inspect, seconds=limit, at_once=self._forks):
            way: Way = remote.way
            if isinstance(answer, HostError):
                remote.close()
                yield way.host, state.failed(way, answer, runs.get(way.host))
            else:
                yield way.host, state.judge(way, answer, runs.get(way.host))


def _watch(query: _Query, every: float, *, as_json: bool) -> None:
    if as_json:
        while True:
            _print(query(), as_json=True, indent=None)
            time.sleep(every)
    console = Console()
    with Live(
        Text("querying the hosts…"), console=console, screen=console.is_terminal, auto_refresh=False
    ) as live:
        while True:
            found = query()
            head = Text(
                f"{datetime.now(UTC).astimezone():%H:%M:%S}  every {every:g} s, Ctrl-C ends", style="dim"
            )
            live.update(Group(head, *_parts(found)), refresh=True)
            time.sleep(every)


def _print(found: Sequence[HostStatus], *, as_json: bool, indent: int | None = 2) -> None:
    if as_json:
        document = {"schema": 1, "at": time.time(), "hosts": [host.to_json() for host in found]}
        click.echo(json.dumps(document, indent=indent))
        return
    console = Console()
    replace_unencodable(console)
    for part in _parts(found):
        console.print(part, soft_wrap=isinstance(part, Text))


def _parts(found: Sequence[HostStatus]) -> list[Table | Text]:
    """Return tables of the hosts that answered, and a line for each other host and for each problem."""
    answered = [host for host in found if host.trouble is None]
    parts: list[Table | Text] = [_services(answered), Text(), _machines(answered)] if answered else []
    notes = [f"{host.name}/{one.name}: {one.note}" for host in answered for one in host.services if one.note]
    notes += [
        f"{host.name}: {unit} is no longer in the inventory: provision apply removes it after you agree"
        for host in answered
        for unit in host.unnamed
    ]
    parts += [host_text(f"! {note}", "yellow") for note in notes]
    faults = [_gpu_fault(host) for host in answered]
    parts += [host_text(f"! {fault}", "red") for fault in faults if fault]
    for host in found:
        if host.trouble is not None:
            text = hosts.trouble(host.name, HostError(host.trouble, host.next))
            parts.append(Text(f"! {text}", "red"))
    well = sum(1 for host in found if host.is_well)
    serving = sum(1 for host in found for one in host.services if one.state == state.SERVING)
    services = "1 service serving" if serving == 1 else f"{serving} services serving"
    parts.append(Text(f"{well} of {screen_text.hosts(len(found))} healthy, {services}", "bold"))
    return parts


def _gpu_fault(host: HostStatus) -> str:
    """Return what is wrong with a host's GPUs or their driver, with what to do; empty when nothing is."""
    says = host.facts["gpu_fault"]
    return hosts.trouble(host.name, HostError(says, host.facts["gpu_next"])) if says else ""


def _services(found: Sequence[HostStatus]) -> Table:
    table = _titled("host", "service", "state", "since", "model")
    for host in found:
        for number, service in enumerate(host.services or (None,)):
            table.add_row(host_text(host.name if number == 0 else ""), *_service(service))
    return table


def _machines(found: Sequence[HostStatus]) -> Table:
    table = _titled("host", "up", "GPU", "memory free", "disk free", "last run")
    for host in found:
        facts = host.facts
        cells = (
            host.name,
            _span(facts["uptime_s"]),
            _cards(facts["gpus"], facts["gpu_fault"]),
            f"{size(facts['available_bytes'])} of {size(facts['memory_bytes'])}",
            ", ".join(f"{size(disk['free_bytes'])} on {disk['mount']}" for disk in facts["disks"]),
            _last(host.last_run),
        )
        table.add_row(*map(host_text, cells))
    return table


def _titled(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def _service(service: ServiceStatus | None) -> tuple[Text, ...]:
    if service is None:
        return Text("none"), Text(""), Text(""), Text("")
    times = "1 restart" if service.restarts == 1 else f"{service.restarts} restarts"
    restarts = f" ({times})" if service.restarts else ""
    return (
        host_text(service.name),
        host_text(service.state, STYLES.get(service.state, "bold red")),
        host_text((_span(service.uptime_s) if service.uptime_s is not None else "") + restarts),
        host_text(service.model),
    )


def _cards(cards: Sequence[dict[str, Any]], fault: str) -> str:
    if not cards:
        return "not usable" if fault else "none"
    shown = []
    for card in cards:
        used = f" {size(card['used_bytes'])} of {size(card['memory_bytes'])}" if card["memory_bytes"] else ""
        busy = f" {card['busy_percent']}%" if card["busy_percent"] is not None else ""
        hot = f" {card['celsius']}°C" if card["celsius"] is not None else ""
        shown.append(f"{card['index']} {card['name']}{used}{busy}{hot}")
    return "; ".join(shown)


def _span(seconds: float) -> str:
    days, rest = divmod(seconds, DAY_S)
    return f"{days:.0f} d {duration(rest)}" if days else duration(rest)


def _last(run: LastRun | None) -> str:
    return f"{run.result} {_span(max(time.time() - run.started, 0))} ago" if run else "none"
