# SPDX-License-Identifier: Apache-2.0
"""The real ssh client reads our defaults behind what the user's configuration says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from provisioner import content
from tests.host.remote.sshd import Sshd

Ssh = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ssh(tmp_path: Path) -> Ssh:
    """Give a caller of ssh as Ansible calls it; the folder of the tool has a blank and a percent sign."""
    folder = tmp_path / "state 5%"
    folder.mkdir()

    def call(*arguments: str, program: str = "ssh") -> subprocess.CompletedProcess[str]:
        own = {"PROVISION_SSH": program, "PROVISION_SSH_FOLDER": str(folder)}
        own["PROVISION_SSH_FILES"] = str(tmp_path / "files")
        return subprocess.run(
            [content.ssh(), *arguments],
            env={**os.environ, **own},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            cwd=tmp_path,
        )

    return call


@pytest.fixture
def config(tmp_path: Path, sshd: Sshd) -> Callable[[str], str]:
    """Give a writer of an ssh configuration for the server, which others of the group may change."""

    def write(more: str) -> str:
        path = tmp_path / "config"
        path.write_text(
            f"Host gpu-node-a\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User ops\n"
            f"  IdentityFile {sshd.client_key}\n  IdentitiesOnly yes\n{more}"
        )
        path.chmod(0o664)
        return str(path)

    return write


def resolved(ssh: Ssh, *arguments: str) -> Mapping[str, str]:
    done = ssh("-G", *arguments)
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_an_unknown_key_is_learned_where_nothing_is_said(
    ssh: Ssh, config: Callable[[str], str], tmp_path: Path, sshd: Sshd
) -> None:
    done = ssh("-F", config(""), "gpu-node-a", "echo $((1 + 1))")
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
    assert f"[127.0.0.1]:{sshd.port} " in (tmp_path / "state 5%/known_hosts").read_text()


@pytest.mark.parametrize(
    "strict",
    [
        "  StrictHostKeyChecking yes\n",
        "Host *\n  StrictHostKeyChecking yes\n",
        "Match final all\n  StrictHostKeyChecking yes\n",
        "  StrictHostKeyChecking ask\n",
        "  StrictHostKeyChecking yes",
    ],
)
def test_strict_host_keys_stay_in_force(
    ssh: Ssh, config: Callable[[str], str], tmp_path: Path, sshd: Sshd, strict: str
) -> None:
    done = ssh("-F", config(strict), "gpu-node-a", "true")
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr
    assert not sshd.commands
    assert not (tmp_path / "state 5%/known_hosts").exists()


def test_a_file_and_a_name_for_host_keys_stay_in_force(
    ssh: Ssh, config: Callable[[str], str], tmp_path: Path
) -> None:
    own = tmp_path / "own"
    said = f"  UserKnownHostsFile {own}\n  HostKeyAlias alias.lab\n"
    assert ssh("-F", config(said), "gpu-node-a", "true").returncode == 0
    line = own.read_text()
    assert line.startswith("alias.lab ")
    assert not (tmp_path / "state 5%/known_hosts").exists()
    own.write_text(f"@revoked {line}")
    assert "revoked" in ssh("-F", config(said), "gpu-node-a", "true").stderr


@pytest.mark.parametrize("terminal", ["yes", "force"])
def test_a_command_for_a_persons_sessions_is_switched_off(
    ssh: Ssh, config: Callable[[str], str], terminal: str
) -> None:
    said = f"  RequestTTY {terminal}\n  RemoteCommand tmux new -A -s ops\n"
    done = ssh("-F", config(said), "gpu-node-a", "echo here")
    assert (done.returncode, done.stdout) == (0, "here\n"), done.stderr
    # What somebody asked for on the command line is meant.
    asked = resolved(ssh, "-F", config(said), "-o", "RequestTTY=force", "gpu-node-a")
    assert asked["requesttty"] == "force"


def test_arguments_go_before_the_configuration(ssh: Ssh, config: Callable[[str], str]) -> None:
    file = config("  StrictHostKeyChecking yes\n")
    found = resolved(ssh, "-F", file, "-o", "StrictHostKeyChecking=no", "--", "gpu-node-a")
    assert (found["stricthostkeychecking"], found["hostname"]) == ("false", "127.0.0.1")


@pytest.mark.parametrize("arguments", [["-F", "config"], ["-Fconfig"], ["-F", "none", "-CF", "config"]])
def test_the_last_file_counts_as_with_ssh(
    ssh: Ssh, config: Callable[[str], str], arguments: list[str]
) -> None:
    config("")
    found = resolved(ssh, *arguments, "gpu-node-a")
    assert (found["hostname"], found["stricthostkeychecking"]) == ("127.0.0.1", "accept-new")


def test_a_changed_file_is_read_again(ssh: Ssh, config: Callable[[str], str]) -> None:
    assert resolved(ssh, "-F", config(""), "gpu-node-a")["stricthostkeychecking"] == "accept-new"
    found = resolved(ssh, "-F", config("  StrictHostKeyChecking yes\n"), "gpu-node-a")
    assert found["stricthostkeychecking"] == "true"


@pytest.mark.parametrize("arguments", [[], ["-F", "none"]])
def test_the_defaults_hold_without_a_file(ssh: Ssh, tmp_path: Path, arguments: list[str]) -> None:
    found = resolved(ssh, *arguments, "some.invalid")
    assert (found["stricthostkeychecking"], found["serveraliveinterval"]) == ("accept-new", "5")
    assert found["userknownhostsfile"].startswith(f"{tmp_path}/state 5%/known_hosts ")


def test_a_missing_file_is_ssh_s_own_mistake_to_report(ssh: Ssh) -> None:
    done = ssh("-F", "/nowhere/config", "some.invalid", "true")
    assert done.returncode == 255
    assert "/nowhere/config" in done.stderr


def test_words_of_the_command_are_no_options(ssh: Ssh, tmp_path: Path) -> None:
    shows = tmp_path / "shows"
    shows.write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    shows.chmod(0o755)
    said = ssh("-o", "A=b c", "-tt", "host", "echo -F x; ''", program=str(shows)).stdout
    assert said.startswith("<-o><A=b c><-tt><-F></")
    assert said.endswith("><host><echo -F x; ''>")
    # As sftp calls it.
    said = ssh("-oForwardX11 no", "-s", "--", "host", "sftp", program=str(shows)).stdout
    assert said.startswith("<-oForwardX11 no><-s><-F></")
    assert said.endswith("><--><host><sftp>")
    assert ssh("-V", program=str(shows)).stdout == "<-V>"


@pytest.mark.parametrize("strict", [False, True])
def test_jump_hosts_have_the_defaults_and_what_the_configuration_says(
    ssh: Ssh, config: Callable[[str], str], servers: Callable[[], Sshd], tmp_path: Path, strict: bool
) -> None:
    gate = servers()
    said = "  StrictHostKeyChecking yes\n" if strict else ""
    jump = f"  ProxyJump gate\nHost gate\n  HostName 127.0.0.1\n  Port {gate.port}\n  User ops\n"
    file = config(f"{jump}  IdentityFile {gate.client_key}\n  RemoteCommand tmux\n{said}")
    done = ssh("-F", file, "gpu-node-a", "echo through")
    known = tmp_path / "state 5%/known_hosts"
    if strict:
        assert "Host key verification failed" in done.stderr
        assert not known.exists()
    else:
        assert (done.returncode, done.stdout) == (0, "through\n"), done.stderr
        assert gate.tunnels
        assert len(known.read_text().splitlines()) == 2
