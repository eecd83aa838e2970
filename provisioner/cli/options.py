# SPDX-License-Identifier: Apache-2.0
"""Define the options that several commands share, with the names that Ansible uses."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from provisioner import settings
from provisioner.fleet import inventory, spec
from provisioner.fleet.spec import Fleet
from provisioner.runs import run
from provisioner.runs.run import Secrets

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True)
class Selection:
    """The inventory and the hosts that the user chose, and how secrets are read."""

    source: str
    limit: str | None
    extra_vars: tuple[str, ...]
    vault_password_files: tuple[str, ...]
    secrets: Secrets

    def fleet(self) -> Fleet:
        """Return the checked fleet; raises InventoryError with all that is wrong."""
        with run.password_files(Secrets(vault_password=self.secrets.vault_password)) as passwords:
            vault = [*run.inventory_arguments(self.vault_password_files), *passwords]
            found = inventory.load(
                self.source, limit=self.limit, extra_vars=self.extra_vars, vault_arguments=vault
            )
            unlock = functools.cache(functools.partial(inventory.unlock, vault_arguments=tuple(vault)))
            return spec.load(found, self.extra_vars, unlock)


_INVENTORY = click.argument("source", metavar="INVENTORY")
_LIMIT = click.option(
    "-l", "--limit", metavar="PATTERN", help="Only the hosts that match this Ansible pattern."
)
_VARIABLES = (
    click.option(
        "-e", "--extra-vars", multiple=True, metavar="VARS", help="Variables as key=value, JSON, or @FILE."
    ),
    click.option("--ask-vault-pass", is_flag=True, help="Ask for the password of encrypted files."),
    click.option(
        "--vault-password-file",
        multiple=True,
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False),
        help="File (or program) with the password of encrypted files.",
    ),
)


_PASSWORDS = (
    click.option("-k", "--ask-pass", is_flag=True, help="Ask for the SSH password."),
    click.option("-K", "--ask-become-pass", is_flag=True, help="Ask for the sudo password."),
)


def selection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the inventory argument and the options that choose hosts and unlock secrets."""
    return _with(command, _INVENTORY, _LIMIT, *_VARIABLES)


def inventory_only(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the inventory argument and the options that unlock secrets; the command adds its own host."""
    return _with(command, _INVENTORY, *_VARIABLES, *_PASSWORDS)


def _with(command: Callable[..., Any], *decorators: Decorator) -> Callable[..., Any]:
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def ansible(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that are passed on to `ansible-playbook`."""
    return _with(
        command,
        *_PASSWORDS,
        click.option("-f", "--forks", type=click.IntRange(min=1), help="How many hosts to work on at once."),
        click.option("-v", "--verbose", count=True, help="Write more into ansible.log; up to -vvvv."),
    )


def at_once(seconds: float) -> Decorator:
    """Add the options that limit a command which works on many hosts."""
    forks = click.option(
        "-f", "--forks", type=click.IntRange(min=1), default=32, help="How many hosts to work on at once."
    )
    text = "Give up on a host after this many seconds."
    limit = click.option(
        "--timeout",
        type=click.FloatRange(min=1),
        default=seconds,
        show_default=True,
        metavar="SECONDS",
        help=text,
    )
    return lambda command: _with(command, *_PASSWORDS, forks, limit)


def as_json(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json`."""
    text = "Print one JSON document on standard output, and nothing else there."
    return click.option("--json", "as_json", is_flag=True, help=text)(command)


def choose(values: dict[str, Any]) -> Selection:
    """Take the shared options out of a command's parameters, and ask for the passwords that they require."""
    ask_login = _is_wanted(values, "ask_pass", "ask_pass")
    ask_become = _is_wanted(values, "ask_become_pass", "become_ask_pass")
    ask_vault = _is_wanted(values, "ask_vault_pass", "ask_vault_pass")
    return Selection(
        source=values.pop("source"),
        limit=values.pop("limit", None),
        extra_vars=values.pop("extra_vars"),
        vault_password_files=values.pop("vault_password_file"),
        secrets=Secrets(
            connection_password=_ask("SSH password") if ask_login else None,
            become_password=_ask("BECOME password") if ask_become else None,
            vault_password=_ask("Vault password") if ask_vault else None,
        ),
    )


def _is_wanted(values: dict[str, Any], option: str, setting: str) -> bool:
    """Return whether to ask for a password: a command that has the option heeds Ansible's setting as well."""
    if option not in values:
        return False
    return values.pop(option) or (sys.stdin.isatty() and settings.asks_for(setting))


def _ask(what: str) -> str:
    answer: str = click.prompt(what, hide_input=True, err=True)
    return answer
