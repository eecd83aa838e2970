# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import socket
import tarfile
import threading
from typing import Any

import pytest

from provisioner.errors import LabError
from provisioner.lab import hosts
from provisioner.lab.hosts import HostPlan, SeedFile
from provisioner.lab.podman import Podman
from provisioner.lab.process import Result

PLAN = HostPlan(
    lab="mine",
    name="one",
    image="localhost/provision-lab/debian13:0123456789ab",
    network="provision-lab-mine",
    address="10.1.2.3",
    publish=(2301, 22),
    recipe="0123456789ab",
    mounts=("cache:/var/cache/provision",),
    origin="a stand-in",
)


def test_a_container_that_behaves_like_a_machine() -> None:
    argv = hosts.create_argv(PLAN, {"nofile": 20000, "nproc": 30000})
    assert argv[0] == "create"
    assert argv[-1] == PLAN.image
    assert {
        "--name=provision-lab-mine.one",
        "--hostname=one",
        "--label=provision.lab.origin=a stand-in",
        "--ip=10.1.2.3",
        "--publish=127.0.0.1:2301:22",
        "--systemd=always",
        "--restart=always",
        "--pids-limit=0",
        "--ulimit=nofile=20000:20000",
        "--ulimit=nproc=30000:30000",
        "--volume=cache:/var/cache/provision",
    } <= set(argv)
    assert not [word for word in argv if "privileged" in word]


def test_ssh_is_published_on_the_loopback_address_only() -> None:
    published = [word for word in hosts.create_argv(PLAN, {}) if word.startswith("--publish")]
    assert published == ["--publish=127.0.0.1:2301:22"]


def test_files_are_packed_with_their_modes() -> None:
    packed = hosts.seed([SeedFile("/etc/ssh/key", b"secret", 0o600), SeedFile("/etc/hosts", b"names")])
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        key = archive.extractfile("etc/ssh/key")
        assert key is not None
        assert key.read() == b"secret"
        assert archive.getmember("etc/ssh/key").mode == 0o600
        assert archive.getmember("etc/hosts").mode == 0o644


def test_files_reach_a_host_as_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[tuple[str, ...], bytes | None]] = []

    class Noting(Podman):
        def run(self, *words: str, stdin: bytes | None = None, **_: Any) -> Result:
            calls.append((words, stdin))
            return Result(words, 0, b"", b"")

    monkeypatch.setattr(hosts, "connect", Noting)
    hosts.copy_in("one", [SeedFile("/etc/simulated/state", b"gpus=1\n", 0o600)], lab="mine")
    [(words, packed)] = calls
    assert words == ("cp", "-", "provision-lab-mine.one:/")
    with tarfile.open(fileobj=io.BytesIO(packed or b"")) as archive:
        [member] = archive.getmembers()
    assert (member.name, member.uid, member.gid, member.mode) == ("etc/simulated/state", 0, 0, 0o600)


def test_a_greeting_tells_sshd_from_anything_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for greeting, expected in ((b"SSH-2.0-OpenSSH\r\n", True), (b"HTTP/1.1 400\r\n", False)):
            answering = threading.Thread(target=_greet, args=(listener, greeting))
            answering.start()
            assert hosts.greets(port) is expected
            answering.join()
    assert hosts.greets(port) is False


def _greet(listener: socket.socket, greeting: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(greeting)


def test_waiting_returns_the_first_true_answer() -> None:
    answers = iter([None, "", "running"])
    assert hosts.wait_for(lambda: next(answers), "no") == "running"


def test_waiting_ends_with_what_did_not_happen() -> None:
    with pytest.raises(LabError, match="one did not reboot within 0 s"):
        hosts.wait_for(lambda: None, "one did not reboot", seconds=0)


def test_a_host_that_is_off_cannot_reboot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "exec_in", lambda *_, **__: Result((), 125, b"", b"no such container"))
    with pytest.raises(LabError, match="host one of lab mine is not running"):
        hosts.reboot("one", lab="mine")


def test_a_host_with_a_slow_service_is_up_before_systemd_has_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Podman):
        def run(self, *words: str, **_: Any) -> Result:
            return Result(words, 0, b"starting" if "is-system-running" in words else b"", b"")

    monkeypatch.setattr(hosts, "greets", lambda port: port == 2301)
    assert hosts.wait_until_up(Slow(), "provision-lab-mine.one", 2301) == "starting"


@pytest.mark.parametrize(
    ("running", "logged", "said"),
    [
        ("true", "", "failed: no such user"),
        ("false", "Failed to allocate manager object: Too many open files\nExiting PID 1...\n", "no inotify"),
        (
            "false",
            "Failed to mount tmpfs\nExiting PID 1...\n\n",
            "as soon as it was started: Exiting PID 1...",
        ),
        ("", "", "it logged nothing"),
    ],
)
def test_a_host_that_ends_at_once_says_why(running: str, logged: str, said: str) -> None:
    class Dead(Podman):
        def run(self, *words: str, **_: Any) -> Result:
            if words[0] == "exec":
                raise LabError("`podman exec` failed: no such user")
            out = running if words[0] == "inspect" else logged
            return Result(words, 0, out.encode(), b"")

    with pytest.raises(LabError, match=said):
        hosts.own_home(Dead(), "provision-lab-mine.one")
