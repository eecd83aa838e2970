# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from provisioner import doctor, program, status
from provisioner.errors import HostError
from provisioner.program import NoPython
from provisioner.remote import Remote
from provisioner.services import Service
from tests.unit.day_two.engine import MODEL, Engine
from tests.unit.day_two.sshd import Sshd

SERVES = """\
echo LoadState=loaded; echo ActiveState=active; echo SubState=running; echo Result=success
echo NRestarts=2; echo MainPID=7; echo ActiveEnterTimestampMonotonic=1000000"""


def ask(sshd: Sshd, service: Service) -> dict[str, Any]:
    with Remote(sshd.way(services=(service,))) as remote:
        return status.ask(remote, 30)


def test_a_serving_host_answers_in_one_round_trip_as_root(sshd: Sshd, service: Service) -> None:
    sshd.tool("systemctl", SERVES)
    sshd.tool("nvidia-smi", "echo '0, NVIDIA H200, 143771, 1024, 7, [N/A]'")
    sshd.tool("sudo", f'echo sudo "$@" >> {sshd.tools}/sudos; shift; exec "$@"')
    said = ask(sshd, service)
    judged = status.judge(sshd.way(services=(service,)), said, None)
    assert judged.is_well
    assert (judged.services[0].model, judged.services[0].restarts) == (MODEL, 2)
    assert said["gpus"][0]["busy_percent"] == 7
    assert said["gpus"][0]["celsius"] is None
    assert said["memory_bytes"] > said["available_bytes"] > 0
    assert len(sshd.commands) == 1
    assert (sshd.tools / "sudos").read_text().splitlines()[-1] == "sudo -n python3 -I -"


def test_a_driver_that_does_not_answer_is_no_host_without_gpus(sshd: Sshd, service: Service) -> None:
    sshd.tool("systemctl", SERVES)
    sshd.tool("nvidia-smi", "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    said = ask(sshd, service)
    assert said["gpus"] == []
    assert said["gpu_fault"] == "Failed to initialize NVML: Driver/library version mismatch"


def test_the_key_is_no_part_of_any_command(sshd: Sshd, service: Service, engine: Engine) -> None:
    sshd.tool("systemctl", SERVES)
    engine.key = "canary-key"
    said = ask(sshd, service)
    judged = status.judge(sshd.way(services=(service,)), said, None)
    assert judged.services[0].state == "unhealthy"
    assert "401" in judged.services[0].note
    assert "canary-key" not in json.dumps(said) + "".join(sshd.commands)


def test_the_examination_reaches_out_and_sees_who_listens(
    sshd: Sshd, service: Service, engine: Engine
) -> None:
    sshd.tool("systemctl", "exit 3")
    sshd.tool("getent", "[ $2 = 127.0.0.1 ] && echo 127.0.0.1")
    way = sshd.way(services=(service,))
    url = f"http://127.0.0.1:{engine.server_address[1]}"
    here = {
        "units": [service.unit],
        "paths": ["/", "/not/there/yet"],
        "addresses": [
            {"what": "hub", "url": f"{url}/health"},
            {"what": "mirror", "url": "http://hub.invalid/"},
            {"what": "proxied", "url": "http://hub.invalid/", "environment": {"HTTP_PROXY": url}},
            {"what": "wrong scheme", "url": url.replace("http", "https")},
        ],
    }
    with Remote(way) as remote:
        facts = program.call(remote, "host_doctor", here)
    reached = {one["what"]: one for one in facts["reached"]}
    assert (reached["hub"]["resolves"], reached["hub"]["error"]) == (True, "")
    assert reached["mirror"]["resolves"] is False
    assert reached["proxied"]["error"] == ""
    assert reached["wrong scheme"]["error"]
    assert engine.server_address[1] in [one["port"] for one in facts["listening"]]
    assert {disk["mount"] for disk in facts["disks"]} >= {"/"}
    found = doctor.judge(way, {**facts, "skew_s": 0.0})
    assert any(one.check == "port" and one.level == doctor.WRONG for one in found), (
        "another program has the port"
    )


def test_a_user_without_root_rights_is_told_so_in_one_line(sshd: Sshd, service: Service) -> None:
    sshd.tool("sudo", "echo 'sudo: a password is required' >&2; exit 1")
    with pytest.raises(HostError) as caught:
        ask(sshd, service)
    assert caught.value.message == "ops cannot become root: sudo: a password is required"
    assert "NOPASSWD" in str(caught.value.next_step)


def test_a_host_without_python_says_what_its_shell_can(
    sshd: Sshd, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = program._FIND_PYTHON.replace("python3 /usr/libexec/platform-python", "/no/python")
    monkeypatch.setattr(program, "_FIND_PYTHON", nothing)
    with pytest.raises(NoPython, match="has no Python"):
        ask(sshd, service)


@pytest.mark.parametrize(
    ("python", "says"),
    [("echo welcome", "unreadable answer: welcome"), ("echo boom >&2; exit 5", "ended with 5: boom")],
)
def test_an_answer_that_is_none_is_shown(sshd: Sshd, service: Service, python: str, says: str) -> None:
    sshd.tool("python3", python)
    with pytest.raises(HostError, match=says):
        ask(sshd, service)


def test_programs_leave_nothing_behind_and_need_no_package() -> None:
    text = program.source("host_doctor", {"units": [], "paths": ["/"], "addresses": []})
    done = subprocess.run(
        [sys.executable, "-I", "-"],
        input=text,
        capture_output=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert json.loads(done.stdout)["python"]
    assert done.stderr == b""
