# SPDX-License-Identifier: Apache-2.0
"""What a host's login prints, which shell it is and how sudo asks make no difference to an answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import HostError
from provisioner.fleet.services import Service
from provisioner.remote import program, shell
from provisioner.remote.ssh import Command, Remote
from tests.host.remote.engine import Engine
from tests.host.remote.sshd import Sshd
from tests.host.remote.test_program import SERVES, ask

GREETING = b"Welcome to the cluster\n{}\nLast line without an end"
# Refuses what csh refuses: a line break in quotes.
CSH = """case "$2" in *'
'*) echo "Unmatched '''." >&2; exit 1 ;; esac
exec /bin/sh "$@"
"""
# Reads backslashes in quotes, as fish does.
FISH = r"""exec /bin/sh -c "$(printf '%s' "$2" | sed 's/\\\\/\\/g')"
"""
NEEDS_PASSWORD = r"""
[ "$1" = -n ] && { echo 'sudo: %(missing)s' >&2; exit 1; }
for attempt in 1 2 3; do
    printf '%(prompt)s' "$3" >&2
    IFS= read -r given || { echo 'sudo: no password was provided' >&2; exit 1; }
    [ "$given" = 'can"ary 1' ] && { shift 3; exec "$@"; }
    echo '%(again)s' >&2
done
exit 1
"""
SUDO = {"prompt": "%s", "again": "Sorry, try again.", "missing": "a password is required"}
SUDO_RS = {
    "prompt": "[sudo: %s] Password: ",
    "again": "sudo: Authentication failed, try again.",
    "missing": "interactive authentication is required",
}
BOTH = pytest.mark.parametrize("says", [SUDO, SUDO_RS], ids=["sudo", "sudo-rs"])


def run(sshd: Sshd, text: str, *, as_root: bool = False, **way: Any) -> str:
    with Remote(replace(sshd.way(), **way)) as remote:
        result = remote.run(Command(text, as_root=as_root), 10)
    assert (result.code, result.err) == (0, "")
    return result.out


def test_a_greeting_is_part_of_no_answer(sshd: Sshd, service: Service) -> None:
    sshd.greeting = GREETING
    sshd.tool("systemctl", SERVES)
    assert run(sshd, "echo mine") == "mine\n"
    assert run(sshd, "id -u", as_root=True) == "1000\n"
    assert ask(sshd, service)["services"][0]["active"] == "active"
    with Remote(sshd.way()) as remote:
        assert sorted(remote.lines(Command("echo one; echo two >&2", as_root=True))) == ["one", "two"]


def test_noise_on_both_outputs_is_no_part_of_an_answer(sshd: Sshd) -> None:
    sshd.shell = str(sshd.tools / "noisy")
    sshd.tool("noisy", 'echo Hello; echo "tput: no terminal" >&2; exec /bin/sh "$@"')
    assert run(sshd, "echo mine") == "mine\n"
    assert run(sshd, "echo root", as_root=True) == "root\n"


@pytest.mark.parametrize("script", [CSH, FISH], ids=["csh", "fish"])
def test_any_login_shell_reads_our_commands(sshd: Sshd, service: Service, script: str) -> None:
    sshd.shell = str(sshd.tools / "login")
    sshd.tool("login", script)
    sshd.tool("systemctl", SERVES)
    assert ask(sshd, service)["services"][0]["active"] == "active"


def test_several_words_arrive_as_they_are(sshd: Sshd) -> None:
    odd = ["a  b", "c!d", "e'f", "g\\h", "i\\\\j", "", "$HOME", "*", '"k"']
    said = run(
        sshd, shell.words([sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", *odd])
    )
    assert json.loads(said) == odd


def test_a_shell_that_runs_no_commands_is_told(sshd: Sshd) -> None:
    sshd.shell = str(sshd.tools / "nologin")
    sshd.tool("nologin", "echo 'This account is currently not available.'; exit 1")
    for call in (lambda remote: remote.open(), lambda remote: program.call(remote, "status", {})):
        with (
            Remote(sshd.way()) as remote,
            pytest.raises(HostError, match="currently not available") as caught,
        ):
            call(remote)
        assert "shell" in str(caught.value.next_step)


@BOTH
def test_a_password_for_sudo_is_given_where_it_is_asked_for(sshd: Sshd, says: dict[str, str]) -> None:
    sshd.tool("sudo", NEEDS_PASSWORD % says)
    password = 'can"ary 1'
    assert run(sshd, "cat; echo root", as_root=True, become_password=password) == "root\n"
    assert "ary 1" not in "".join(sshd.commands)


def test_a_password_that_is_not_asked_for_goes_nowhere(sshd: Sshd) -> None:
    sshd.tool("sudo", 'shift 3; exec "$@"')
    assert run(sshd, "cat; echo root", as_root=True, become_password="canary") == "root\n"


@BOTH
def test_a_wrong_password_is_called_that_at_once(sshd: Sshd, says: dict[str, str]) -> None:
    sshd.tool("sudo", NEEDS_PASSWORD % says)
    with pytest.raises(HostError, match="sudo did not accept the password"):
        run(sshd, "true", as_root=True, become_password="wrong")


@BOTH
def test_a_missing_password_has_its_option(sshd: Sshd, says: dict[str, str]) -> None:
    sshd.tool("sudo", NEEDS_PASSWORD % says)
    with pytest.raises(HostError, match="ops cannot become root: sudo: ") as caught:
        run(sshd, "true", as_root=True)
    assert "--ask-become-pass" in str(caught.value.next_step)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 'sudo: 1 incorrect password attempt' >&2; exit 1", "did not accept the password"),
        ("echo 'ops is not in the sudoers file.' >&2; exit 1", "ops is not in the sudoers file"),
        ("echo 'sudo: a terminal is required' >&2; exit 1", "a terminal is required"),
    ],
)
def test_a_refusal_of_sudo_is_shown(sshd: Sshd, script: str, says: str) -> None:
    sshd.tool("sudo", script)
    with pytest.raises(HostError, match=says):
        run(sshd, "true", as_root=True)


def test_the_program_of_the_inventory_becomes_root(sshd: Sshd) -> None:
    sshd.tool("sudo.ws", 'shift; exec "$@"')
    sshd.tool("sudo", "exit 9")
    assert run(sshd, "echo root", as_root=True, become_exe="sudo.ws") == "root\n"
    with pytest.raises(HostError, match="sudo is not installed"):
        run(sshd, "echo root", as_root=True, become_exe="no-sudo")


def test_a_slow_sudo_is_not_a_host_that_is_switched_off(sshd: Sshd) -> None:
    sshd.tool("sudo", "exec sleep 30")
    with (
        Remote(sshd.way()) as remote,
        pytest.raises(HostError, match=r"becoming root timed out after 0\.3 s"),
    ):
        remote.run(Command("true", as_root=True), 0.3)


def test_scripts_reach_sh_as_they_are(tmp_path: Path) -> None:
    script = "printf '%s' 'a\\nb\\\\0101c' \"$(cat)\"\n# it's a comment\n"
    done = subprocess.run(
        ["/bin/sh", "-c", shell.scripted()],
        input=shell.line(script) + b"data\n\x00",
        capture_output=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.startswith(b"a\\nb\\\\0101cdata")


def test_a_command_that_the_shell_cannot_read_is_a_result(sshd: Sshd) -> None:
    with Remote(sshd.way()) as remote:
        result = remote.run(Command("echo 'open"))
    assert result.code not in (0, 255)
    assert result.err


@pytest.mark.parametrize("code", [1, 255])
def test_a_code_of_the_command_is_no_lost_connection(sshd: Sshd, code: int) -> None:
    with Remote(sshd.way()) as remote:
        assert remote.run(Command(f"exit {code}")).code == code


def test_a_revoked_key_and_an_alias_count(sshd: Sshd, tmp_path: Path) -> None:
    options = "  HostKeyAlias alias.lab\n"
    with Remote(sshd.way(options=options)) as remote:
        remote.open()
    line = sshd.known_hosts.read_text()
    assert line.startswith("alias.lab ")
    sshd.known_hosts.write_text(f"@revoked {line}")
    with Remote(sshd.way(options=options)) as remote, pytest.raises(HostError, match="marked as revoked"):
        remote.open()
    other = tmp_path / "other"
    other.write_text(line)
    files = f"  UserKnownHostsFile {tmp_path}/none {other}\n  StrictHostKeyChecking yes\n"
    with Remote(sshd.way(options=options + files)) as remote:
        remote.open()


def test_many_hosts_share_nothing(servers: Callable[[], Sshd], engine: Engine) -> None:
    first, second = servers(), servers()
    second.greeting = GREETING
    with Remote(first.way()) as one, Remote(second.way()) as two:
        assert (one.run(Command("echo 1")).out, two.run(Command("echo 2")).out) == ("1\n", "2\n")
        with one.tunnel("127.0.0.1", engine.server_address[1]) as a, two.tunnel(*engine.server_address) as b:
            for stream in (a, b):
                stream.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            assert {a.recv(12), b.recv(12)} == {b"HTTP/1.1 200"}
