# SPDX-License-Identifier: Apache-2.0
"""Ansible and the day-two commands log in alike, as the ssh configuration says; both really do it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner import settings
from provisioner.errors import HostError
from provisioner.remote import reach
from provisioner.remote.reach import Way
from provisioner.remote.ssh import Command, Remote
from provisioner.runs import run
from provisioner.runs.run import Request, Secrets
from tests.host.remote.conftest import client_key, servers, sockets, sshd
from tests.host.remote.sshd import Sshd

__all__ = ["client_key", "servers", "sockets", "sshd"]

NONE = Secrets()


@pytest.fixture(autouse=True)
def long_home(sockets: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have a home of 63 characters and no folder for the session, as on a build machine."""
    assert sockets.is_dir()
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        home = Path(base) / ("c" * (62 - len(base)))
        home.mkdir()
        for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(home))
        # The connection that is kept open must not outlive the test by a minute.
        monkeypatch.setenv("ANSIBLE_SSH_ARGS", "-o ControlMaster=auto -o ControlPersist=1s")
        yield home


def inventory(folder: Path, sshd: Sshd, more: str) -> Path:
    (folder / "config").write_text(
        f"Host node-a\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User ops\n"
        f"  IdentityFile {sshd.client_key}\n  IdentitiesOnly yes\n{more}"
    )
    path = folder / "hosts.ini"
    python = f"ansible_python_interpreter={sys.executable}"
    path.write_text(f"node-a ansible_ssh_common_args=\"-F '{folder}/config'\" {python}\n")
    return path


def by_ansible(hosts: Path, *more: str) -> str:
    # A module that is sent by way of standard input, which ends; the server waits for that.
    argv = [sys.executable, "-m", "ansible", "adhoc", "all", "-i", str(hosts), "-m", "ping", *more]
    done = subprocess.run(
        argv,
        env=settings.environment(Path("/dev/null")),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def way_to(hosts: Path, secrets: Secrets = NONE) -> Way:
    (way,) = reach.load(Request(playbook="", inventory=str(hosts), secrets=secrets), ["node-a"])
    return way


def by_day_two(way: Way) -> str:
    with Remote(way) as remote:
        return remote.run(Command("echo by-day-two")).out


def test_a_persons_own_session_and_a_long_home_harm_neither(
    tmp_path: Path, sshd: Sshd, long_home: Path
) -> None:
    hosts = inventory(tmp_path, sshd, "  RequestTTY yes\n  RemoteCommand tmux new -A -s ops\n")
    assert "pong" in by_ansible(hosts)
    assert sshd.commands
    assert by_day_two(way_to(hosts)) == "by-day-two\n"
    # The second one found the key that the first one had learned.
    assert len((long_home / ".local/state/provision/known_hosts").read_text().splitlines()) == 1


def test_strict_host_keys_bind_both(tmp_path: Path, sshd: Sshd, long_home: Path) -> None:
    own = tmp_path / "known"
    hosts = inventory(tmp_path, sshd, f"  StrictHostKeyChecking yes\n  UserKnownHostsFile {own}\n")
    assert "Host key verification failed" in by_ansible(hosts)
    way = way_to(hosts)
    with pytest.raises(HostError, match="not known and unknown keys are refused"):
        by_day_two(way)
    assert not sshd.commands
    assert not (long_home / ".local/state/provision/known_hosts").exists()
    own.write_text(f"[127.0.0.1]:{sshd.port} {sshd.host_key.get_name()} {sshd.host_key.get_base64()}\n")
    assert by_day_two(way) == "by-day-two\n"


def test_a_typed_password_is_enough_for_both(tmp_path: Path, sshd: Sshd) -> None:
    sshd.password = "canary"
    hosts = inventory(tmp_path, sshd, "")
    secrets = Secrets(connection_password="canary")
    with run.password_files(secrets) as passwords:
        assert "pong" in by_ansible(hosts, *passwords)
    assert sshd.commands
    way = way_to(hosts, secrets)
    assert by_day_two(way) == "by-day-two\n"
    with pytest.raises(HostError, match="the SSH login was refused"):
        by_day_two(replace(way, password="wrong"))


def test_a_password_for_sudo_rs_is_enough_for_both(tmp_path: Path, sshd: Sshd) -> None:
    prompt = "[sudo: %s] Password: "
    asks = f"""
while [ "$1" != -p ]; do shift; done
printf '{prompt}' "$2" >&2; read -r given
[ "$given" = canary ] || {{ printf '\\nTry again\\n{prompt}' "$2" >&2; read -r given; exit 1; }}
while [ "$1" != sh ] && [ "$1" != /bin/sh ]; do shift; done
ROOT=yes exec "$@"
"""
    sshd.tool("sudo", asks)
    hosts = inventory(tmp_path, sshd, "")
    secrets = Secrets(become_password="canary")
    with run.password_files(secrets) as passwords:
        assert "pong" in by_ansible(hosts, "--become", *passwords)
    with run.password_files(Secrets(become_password="wrong")) as passwords:
        assert "Incorrect sudo password" in by_ansible(hosts, "--become", *passwords)
    way = way_to(hosts, secrets)
    with Remote(way) as remote:
        assert remote.run(Command('echo "$ROOT"', as_root=True)).out == "yes\n"
