# SPDX-License-Identifier: Apache-2.0
"""Find the hosts that a day-two command is about, and report the hosts that cannot be reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from provisioner.cli import options
from provisioner.errors import HostError, UsageError
from provisioner.fleet import findings
from provisioner.fleet.services import Service
from provisioner.plain import clean, one_line
from provisioner.remote import reach, ssh
from provisioner.remote.reach import Way
from provisioner.runs.run import Request

# On top of the time that the work itself may take.
LOGIN_SECONDS = ssh.LOGIN_SECONDS


def ways(values: dict[str, Any], only: str | None = None) -> tuple[Way, ...]:
    """Return the way to every chosen host, or to `only` one, of the checked inventory."""
    chosen = options.choose(values)
    names = [host.name for host in chosen.fleet().hosts]
    if only is not None:
        names = [_nearest(only, names, "host")]
    request = Request(
        playbook="",
        inventory=chosen.source,
        limit=only or chosen.limit,
        extra_vars=chosen.extra_vars,
        vault_password_files=chosen.vault_password_files,
        secrets=chosen.secrets,
    )
    return reach.load(request, names)


def target(values: dict[str, Any], text: str) -> tuple[Way, tuple[Service, ...]]:
    """Return the host of HOST or HOST/SERVICE, and its services or that one alone."""
    host, _, name = text.partition("/")
    (way,) = ways(values, host)
    if way.trouble:
        raise HostError(f"{host}: {way.trouble}", "fix this host's connection variables in the inventory")
    if not way.services:
        raise UsageError(f"{host} has no service in the inventory", "give it serve_engine and serve_model")
    if not name:
        return way, way.services
    known = [service.name for service in way.services]
    _nearest(name, known, f"service of {host}")
    return way, tuple(service for service in way.services if service.name == name)


def print_trouble(host: str, error: HostError) -> None:
    """Print in one line why a host could not be worked on, with the next step."""
    click.secho(trouble(host, error), fg="red", err=True)


def trouble(host: str, error: HostError) -> str:
    """Return that line."""
    step = f" — next: {one_line(error.next_step, 400)}" if error.next_step else ""
    return clean(f"{host}: {one_line(error.message, 300)}{step}")


def _nearest(name: str, known: Sequence[str], what: str) -> str:
    if name in known:
        return name
    near = findings.nearest(name, known)
    hint = f"did you mean {near}?" if near else f"there is {', '.join(known[:10])}"
    raise UsageError(f"there is no {what} called {name}", hint)
