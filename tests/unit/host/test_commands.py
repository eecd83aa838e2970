# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible.module_utils.provision.host import commands
from ansible.module_utils.provision.host.commands import CommandFault
from ansible.module_utils.provision.host.fault import Fault


def test_a_program_that_fails_is_an_answer() -> None:
    done = commands.call("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_a_program_has_no_terminal_and_speaks_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("KEPT", "as it was")
    assert commands.call("sh", "-c", 'echo "$LC_ALL, $KEPT"; cat').stdout == "C, as it was\n"


def test_bytes_of_no_alphabet_are_replaced() -> None:
    assert commands.call("printf", r"caf\303\251 \377").stdout == "caf\u00e9 \ufffd"


def test_a_missing_program_is_named() -> None:
    with pytest.raises(CommandFault, match="no-such-program is not installed on this host") as raised:
        commands.call("no-such-program")
    assert raised.value.next_step == "install no-such-program"


def test_a_file_that_is_no_program_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(CommandFault, match=f"{tmp_path} cannot be run: Permission denied"):
        commands.call(str(tmp_path))


def test_a_program_that_hangs_is_ended_and_named() -> None:
    with pytest.raises(CommandFault, match=r"sleep 60 did not end within 0\.01 s") as raised:
        commands.call("sleep", "60", seconds=0.01)
    assert "run 'sleep 60' on the host" in raised.value.next_step


def test_a_program_that_cannot_be_killed_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """So does one that hangs in a driver or on a dead mount."""
    left: list[subprocess.Popen[str]] = []

    def survive(process: subprocess.Popen[str]) -> None:
        left.append(process)

    monkeypatch.setattr(commands, "END_SECONDS", 0.01)
    monkeypatch.setattr(subprocess.Popen, "kill", survive)
    with pytest.raises(CommandFault, match="did not end"):
        commands.call("sleep", "600", seconds=0.01)
    monkeypatch.undo()
    (process,) = left
    assert process.poll() is None
    process.kill()
    process.wait()


@pytest.mark.parametrize("argv", [("no-such-program",), ("sleep", "60")])
def test_every_entry_can_report_it(argv: tuple[str, ...]) -> None:
    with pytest.raises(Fault) as raised:
        commands.call(*argv, seconds=0.01)
    assert raised.value.next_step
