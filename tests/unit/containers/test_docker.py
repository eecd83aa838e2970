# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import http.server
import json
import os
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from ansible.module_utils.provision.containers import docker
from ansible.module_utils.provision.containers.docker import CDI, RUNTIME
from ansible.module_utils.provision.host.fault import Fault

from tests.unit.fakes import Answers

THEIRS = '{\n  "log-driver": "journald",\n  "features": {\n    "buildkit": true\n  },\n  "größe": 1\n}\n'


def changed(text: str | None, keys: tuple[str, str]) -> str:
    config = docker.load(text)
    value = docker.wanted_value(keys)
    fresh: str = docker.text_of(docker.with_value(config, keys, value), text)
    return fresh


def test_adds_one_value_and_keeps_order_indentation_and_the_rest() -> None:
    assert changed(THEIRS, CDI) == THEIRS.replace('"buildkit": true', '"buildkit": true,\n    "cdi": true')


def test_takes_the_value_back_exactly() -> None:
    config = docker.load(changed(THEIRS, CDI))
    assert docker.text_of(docker.with_value(config, CDI, None), THEIRS) == THEIRS


def test_an_object_that_only_held_ours_goes_with_it() -> None:
    config = docker.load(changed("", CDI))
    assert config == {"features": {"cdi": True}}
    assert docker.with_value(config, CDI, None) == {}


def test_registers_nvidias_runtime_beside_others() -> None:
    config = json.loads(changed('{"runtimes": {"kata": {"path": "kata-runtime"}}}', RUNTIME))
    assert config["runtimes"] == {
        "kata": {"path": "kata-runtime"},
        "nvidia": {"args": [], "path": "nvidia-container-runtime"},
    }


@pytest.mark.parametrize(
    ("text", "keys", "right"),
    [
        (None, CDI, False),
        ("{}", CDI, False),
        ('{"features": {"cdi": false}}', CDI, False),
        ('{"features": {"cdi": true}}', CDI, True),
        ('{"features": true}', CDI, False),
        ('{"runtimes": {"nvidia": {"path": "/usr/bin/nvidia-container-runtime"}}}', RUNTIME, True),
        ('{"runtimes": {"nvidia": {"path": "runc"}}}', RUNTIME, False),
    ],
)
def test_tells_whether_the_value_is_there(text: str | None, keys: tuple[str, str], *, right: bool) -> None:
    assert docker.is_right(docker.load(text), keys) is right


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"debug": true\n"more"}', "not JSON: .*line 2"),
        ('["debug"]', "contains a list instead of an object"),
    ],
)
def test_refuses_a_file_that_docker_could_not_read(text: str, message: str) -> None:
    with pytest.raises(Fault, match=message) as caught:
        docker.load(text)
    assert "apply again" in caught.value.next_step


def test_refuses_to_overwrite_a_value_of_another_kind() -> None:
    with pytest.raises(Fault, match=r"'features' in /etc/docker/daemon.json is not an object"):
        docker.with_value({"features": "all"}, CDI, value=True)


def test_a_new_file_is_validated_before_it_takes_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "docker/daemon.json"
    path.parent.mkdir()
    path.write_text("{}\n")
    path.chmod(0o640)
    seen: list[tuple[int, str]] = []

    def validate(*argv: str, **_more: Any) -> CompletedProcess[str]:
        fresh = Path(argv[-1])
        seen.append((fresh.stat().st_mode & 0o777, fresh.read_text()))
        wrong = "bogus" in fresh.read_text()
        said = "unable to configure the Docker daemon with file: unknown option bogus" if wrong else ""
        return CompletedProcess(argv, int(wrong), "", said)

    monkeypatch.setattr(docker.shutil, "which", lambda _name: "/usr/sbin/dockerd")
    monkeypatch.setattr(docker, "call", validate)
    docker.write('{"debug": true}\n', path)
    assert seen == [(0o600, '{"debug": true}\n')]
    assert (path.read_text(), path.stat().st_mode & 0o777) == ('{"debug": true}\n', 0o640)
    with pytest.raises(Fault, match=r"Docker rejects the new .*unknown option bogus"):
        docker.write('{"bogus": 1}\n', path)
    assert path.read_text() == '{"debug": true}\n'
    assert list(path.parent.iterdir()) == [path]


def test_a_docker_that_cannot_validate_is_not_asked_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = CompletedProcess([], 125, "", "unknown flag: --validate")
    monkeypatch.setattr(docker.shutil, "which", lambda _name: "/usr/sbin/dockerd")
    monkeypatch.setattr(docker, "call", lambda *_argv, **_more: old)
    docker.write("{}\n", tmp_path / "daemon.json")
    assert (tmp_path / "daemon.json").stat().st_mode & 0o777 == 0o644
    docker.write(None, tmp_path / "daemon.json")
    assert not (tmp_path / "daemon.json").exists()


class Daemon(http.server.BaseHTTPRequestHandler):
    """Answers as Docker does."""

    answers: dict[str, bytes] = {  # noqa: RUF012 - the server makes the handlers
        "/info": b'{"ServerVersion": "28.1.1", "CDISpecDirs": ["/etc/cdi"], "Runtimes": {"runc": {}}}',
        "/containers/json": b'[{"Names": ["/web"]}, {"Names": ["/llm"]}]',
    }

    def do_GET(self) -> None:
        body = self.answers[self.path]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    path = os.path.relpath(tmp_path / "docker.sock")  # a socket's name is short
    monkeypatch.setattr(docker, "SOCKET", path)
    with socketserver.UnixStreamServer(path, Daemon) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("daemon")
def test_asks_the_daemon_over_its_socket() -> None:
    said = docker.info()
    assert said is not None
    assert docker.works_with(said, CDI)
    assert not docker.works_with(said, RUNTIME)
    assert docker.running() == ["web", "llm"]


def test_a_daemon_that_does_not_run_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(docker, "SOCKET", str(tmp_path / "nowhere"))
    assert docker.info() is None
    assert docker.running() == []


def test_a_start_that_fails_shows_the_daemons_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Answers(monkeypatch)
    programs.answer("systemctl restart", code=1, err="Job failed.")
    programs.answer("journalctl", "no iptables here\n")
    with pytest.raises(Fault, match=r"Docker does not restart: no iptables here"):
        docker.control("restart")
