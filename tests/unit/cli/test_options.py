# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from typing import Any

import click
import pytest
from click.testing import CliRunner

from provisioner.cli import options, status
from provisioner.cli.options import Decorator


def both(command: Any) -> Any:
    return options.selection(options.ansible(command))


def at_once(command: Any) -> Any:
    return options.selection(options.at_once(5)(command))


@pytest.mark.parametrize("decorator", [both, at_once, options.inventory_only])
@pytest.mark.parametrize("given", ["-k", "--ask-pass"])
def test_every_command_that_logs_in_asks_for_the_ssh_password(decorator: Decorator, given: str) -> None:
    @click.command()
    @decorator
    def command(**values: Any) -> None:
        click.echo(f"got {options.choose(values).secrets.connection_password}")

    done = CliRunner().invoke(command, ["gpu.ini", given], input="canary\n")
    assert done.stdout.splitlines()[-1] == "got canary"
    assert "SSH password: " in done.output
    assert CliRunner().invoke(command, ["gpu.ini"]).stdout == "got None\n"
    assert "canary" not in done.stderr


def test_status_has_it() -> None:
    assert "--ask-pass" in CliRunner().invoke(status.status, ["--help"]).output


@pytest.mark.parametrize(
    ("setting", "prompt"),
    [
        ("ANSIBLE_ASK_PASS", "SSH password: "),
        ("ANSIBLE_BECOME_ASK_PASS", "BECOME password: "),
        ("ANSIBLE_ASK_VAULT_PASS", "Vault password: "),
    ],
)
def test_a_password_that_ansible_would_ask_for_is_asked_for_before_it_starts(
    monkeypatch: pytest.MonkeyPatch, setting: str, prompt: str
) -> None:
    @click.command()
    @click.option("--at-terminal", is_flag=True)
    @both
    def command(at_terminal: bool, **values: Any) -> None:
        monkeypatch.setattr(sys.stdin, "isatty", lambda: at_terminal, raising=False)
        options.choose(values)

    monkeypatch.setenv(setting, "yes")
    assert prompt in CliRunner().invoke(command, ["gpu.ini", "--at-terminal"], input="canary\n").output
    assert prompt not in CliRunner().invoke(command, ["gpu.ini"]).output
    monkeypatch.setenv(setting, "no")
    assert prompt not in CliRunner().invoke(command, ["gpu.ini", "--at-terminal"]).output
