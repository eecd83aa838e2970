# SPDX-License-Identifier: Apache-2.0
"""The command `exec`: one command on many hosts at once, its output by host."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from provisioner.cli import hosts, options
from provisioner.errors import HostError, UsageError
from provisioner.plain import clean
from provisioner.remote import parallel, shell
from provisioner.remote.reach import Way
from provisioner.remote.ssh import Command, Remote, Result


@click.command("exec", context_settings={"ignore_unknown_options": True})
@options.selection
@click.argument("command", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("-b", "--become", is_flag=True, help="Run it as root, with sudo.")
@options.at_once(60)
@options.as_json
def execute(
    as_json: bool, command: Sequence[str], become: bool, forks: int, timeout: float, **values: Any
) -> int:
    """Run COMMAND on the hosts of INVENTORY, after `--`; exit code 1 when it fails on one.

    A single argument is run by the login shell; several arguments are passed on unchanged.
    """
    chosen = hosts.ways(values)
    if command[0] in {way.host for way in chosen}:
        raise UsageError(
            f"{command[0]} is a host, and `exec` takes a command, which it runs on every host",
            f"`--limit {command[0]} -- COMMAND` runs one on this host alone",
        )
    line = command[0] if len(command) == 1 else shell.words(command)

    def work(way: Way) -> Result:
        with Remote(way) as remote:
            return remote.run(Command(line, as_root=become), timeout)

    answers = {}
    for way, result in parallel.each(chosen, work, seconds=timeout + hosts.LOGIN_SECONDS, at_once=forks):
        answers[way.host] = result
        if not as_json:
            _show(way.host, result)
    if as_json:
        document = {way.host: _document(answers[way.host]) for way in chosen}
        click.echo(json.dumps({"schema": 1, "hosts": document}, indent=2))
    failed = [name for name, result in answers.items() if isinstance(result, HostError) or result.code]
    if failed and not as_json:
        click.secho(f"failed on {len(failed)} of {len(answers)}: {', '.join(failed)}", fg="red", err=True)
    return int(bool(failed))


def _show(host: str, result: Result | HostError) -> None:
    if isinstance(result, HostError):
        hosts.print_trouble(host, result)
        return
    ended = "" if result.code == 0 else f", exit code {result.code}"
    click.secho(f"{host} ({result.seconds:.1f} s{ended})", fg="red" if result.code else "green", bold=True)
    for line in clean(result.out).splitlines():
        click.echo(f"  {line}")
    for line in clean(result.err).splitlines():
        click.secho(f"  {line}", fg="yellow", err=True)


def _document(result: Result | HostError) -> dict[str, Any]:
    if isinstance(result, HostError):
        return {"error": result.message, "next": result.next_step}
    return {
        "code": result.code,
        "stdout": result.out,
        "stderr": result.err,
        "seconds": round(result.seconds, 3),
    }
