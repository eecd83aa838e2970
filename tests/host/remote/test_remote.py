# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shlex
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from provisioner.errors import HostError
from provisioner.remote.reach import Way
from provisioner.remote.ssh import Command, Remote
from tests.host.remote.engine import Engine
from tests.host.remote.sshd import Sshd

# Carries standard input and output to a port of this machine.
PROXY = """\
import os, socket, sys, threading
there = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def upward():
    for data in iter(lambda: os.read(0, 9999), b""):
        there.sendall(data)
threading.Thread(target=upward, daemon=True).start()
for data in iter(lambda: there.recv(9999), b""):
    os.write(1, data)
"""


@pytest.fixture
def silent() -> Iterator[int]:
    """Give a port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def nobody() -> int:
    """Give a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def refusal(way: Way, seconds: float = 10.0) -> HostError:
    with pytest.raises(HostError) as caught, Remote(way, seconds) as remote:
        remote.open()
    assert "\n" not in caught.value.message
    return caught.value


def test_a_command_has_both_outputs_its_code_and_its_input(sshd: Sshd) -> None:
    with Remote(sshd.way()) as remote:
        result = remote.run(Command("wc -c; echo wrong >&2; exit 3", data=b"x" * 300_000))
        assert remote.run(Command("echo again")).out == "again\n"
    assert (result.code, result.out.strip(), result.err) == (3, "300000", "wrong\n")


def test_lines_arrive_and_a_failure_is_told(sshd: Sshd) -> None:
    with Remote(sshd.way()) as remote:
        assert list(remote.lines(Command("echo one; printf two"))) == ["one", "two"]
        with pytest.raises(HostError, match="exit code 4: no such unit"):
            list(remote.lines(Command("echo no such unit >&2; exit 4")))


def test_a_slow_command_is_given_up_and_the_connection_stays(sshd: Sshd) -> None:
    with Remote(sshd.way()) as remote:
        with pytest.raises(HostError, match=r"no result within 0\.2 s"):
            remote.run(Command("sleep 30"), seconds=0.2)
        assert remote.run(Command("echo still")).out == "still\n"


def test_a_key_seen_first_is_learned_and_another_one_is_refused(sshd: Sshd) -> None:
    with Remote(sshd.way()) as remote:
        remote.open()
    assert f"[127.0.0.1]:{sshd.port} " in sshd.known_hosts.read_text()
    sshd.host_key = paramiko.ECDSAKey.generate()
    error = refusal(sshd.way())
    assert f"known key: {sshd.known_hosts} line 1" in error.message
    assert f"ssh-keygen -f {sshd.known_hosts} -R '[127.0.0.1]:{sshd.port}'" in str(error.next_step)


def test_a_host_with_keys_of_two_kinds_is_asked_for_the_known_one(sshd: Sshd) -> None:
    rsa = paramiko.RSAKey.generate(2048)
    with Remote(sshd.way()) as remote:
        remote.open()
    first, sshd.host_key = sshd.host_key, rsa
    assert (
        "has changed" in refusal(sshd.way()).message
        or "not the one seen before" in refusal(sshd.way()).message
    )
    sshd.host_key = first
    sshd.known_hosts.write_text(f"[127.0.0.1]:{sshd.port} {rsa.get_name()} {rsa.get_base64()}\n")
    sshd.host_key = rsa
    with Remote(sshd.way()) as remote:
        assert remote.run(Command("echo known")).out == "known\n"


def test_a_refused_login_says_so(sshd: Sshd) -> None:
    error = refusal(sshd.way(user="somebody"))
    assert error.message == "the SSH login was refused"
    assert "ansible_user" in str(error.next_step)


def test_a_refused_login_says_how_to_put_a_key_there(servers: Callable[[], Sshd], tmp_path: Path) -> None:
    gate, host = servers(), servers()
    key = tmp_path / "new key"
    Path(f"{key}.pub").touch()
    way = host.way(user="root", keys=(key,), jumps=(gate.hop(),))
    step = str(refusal(way).next_step)
    command = shlex.split(step.rpartition(": ")[2])
    expected = f"-p {host.port} -o ProxyJump=ops@127.0.0.1:{gate.port} root@127.0.0.1".split()
    assert command == ["ssh-copy-id", "-i", f"{key}.pub", *expected]
    assert "--ask-pass" in step
    # Where the jump host refuses, the key has to go there.
    step = str(refusal(host.way(jumps=(gate.hop(user="root", keys=()),))).next_step)
    assert step.endswith(f": ssh-copy-id -p {gate.port} root@127.0.0.1")


def test_no_key_at_all_is_a_refused_login(sshd: Sshd, tmp_path: Path) -> None:
    assert refusal(sshd.way(keys=(tmp_path / "none",))).message == "the SSH login was refused"


def test_a_key_with_a_passphrase_points_to_the_agent(sshd: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "locked"
    paramiko.ECDSAKey.generate().write_private_key_file(str(path), password="secret")
    error = refusal(sshd.way(keys=(path,)))
    assert "passphrase" in error.message
    assert "ssh-add" in str(error.next_step)


def test_nothing_listening_and_silence_are_told_apart(sshd: Sshd, nobody: int, silent: int) -> None:
    assert "nothing listens on the SSH port" in refusal(sshd.way(port=nobody)).message
    assert "did not answer in time" in refusal(sshd.way(port=silent), 0.3).message
    assert "cannot be resolved" in refusal(sshd.way(host="nobody.invalid")).message


def test_a_host_that_cannot_be_tried_is_not_tried() -> None:
    assert refusal(Way("gpu1", trouble="its connection is local")).message == "its connection is local"


def test_a_host_behind_a_jump_host_is_reached_through_it(servers: Callable[[], Sshd]) -> None:
    jump, host = servers(), servers()
    way = host.way(jumps=(jump.hop(),))
    with Remote(way) as remote:
        assert remote.run(Command("echo inside")).out == "inside\n"
    assert jump.tunnels == [("127.0.0.1", host.port)]
    assert (jump.commands, len(host.commands)) == ([], 1)
    assert len(host.known_hosts.read_text().splitlines()) == 2


def test_a_host_behind_two_jump_hosts_is_reached_through_both(servers: Callable[[], Sshd]) -> None:
    outer, inner, host = servers(), servers(), servers()
    with Remote(host.way(jumps=(outer.hop(), inner.hop()))) as remote:
        assert remote.run(Command("echo inside")).out == "inside\n"
    assert (outer.tunnels, inner.tunnels) == ([("127.0.0.1", inner.port)], [("127.0.0.1", host.port)])
    way = host.way(jumps=(outer.hop(), inner.hop(user="root")))
    assert refusal(way).message == "jump host 127.0.0.1: the SSH login was refused"


def test_a_jump_host_that_fails_is_named(servers: Callable[[], Sshd], nobody: int) -> None:
    way = servers().way(jumps=(servers().hop(port=nobody),))
    assert refusal(way).message.startswith("jump host 127.0.0.1: nothing listens")


def test_a_proxy_command_is_used(sshd: Sshd, nobody: int) -> None:
    program = sshd.tools / "proxy.py"
    program.write_text(PROXY)
    way = sshd.way(port=nobody, proxy_command=f"python3 {program} {sshd.port}")
    with Remote(way) as remote:
        assert remote.run(Command("echo proxied")).out == "proxied\n"


def test_a_tunnel_reaches_the_hosts_own_ports(sshd: Sshd, engine: Engine, nobody: int) -> None:
    with Remote(sshd.way()) as remote:
        with remote.tunnel("127.0.0.1", engine.server_address[1]) as stream:
            stream.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            assert stream.recv(12) == b"HTTP/1.1 200"
        with pytest.raises(HostError, match=f"nothing listens on 127.0.0.1:{nobody}"):
            first_word(remote, nobody)
        sshd.forbids_tunnels = True
        with pytest.raises(HostError, match="sshd does not allow tunnels"):
            first_word(remote, engine.server_address[1])


def first_word(remote: Remote, port: int) -> None:
    with remote.tunnel("127.0.0.1", port) as stream:
        if not stream.recv(1):
            raise ConnectionError


def test_a_connection_that_ends_is_told(sshd: Sshd) -> None:
    with Remote(sshd.way()) as remote:
        remote.open()
        sshd.close()
        with pytest.raises(HostError, match=r"closed by the other side|nothing listens"):
            remote.run(Command("echo never"))
