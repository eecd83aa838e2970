# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioner import bindings, lab
from provisioner.errors import HostError
from provisioner.fleet.services import Service
from provisioner.remote import doctor, program, python, status
from provisioner.remote.python import NoPython
from provisioner.remote.ssh import Remote
from tests.host.remote.engine import MODEL, Engine
from tests.host.remote.sshd import Sshd

SERVES = """\
echo LoadState=loaded; echo ActiveState=active; echo SubState=running; echo Result=success
echo NRestarts=2; echo MainPID=7; echo ActiveEnterTimestampMonotonic=1000000"""


def ask(sshd: Sshd, service: Service) -> dict[str, Any]:
    with Remote(sshd.way(services=(service,))) as remote:
        return status.inspect(remote, 30)


def test_a_serving_host_answers_in_one_round_trip_as_root(sshd: Sshd, service: Service) -> None:
    sshd.tool("systemctl", SERVES)
    sshd.tool("sudo", f'echo sudo "$@" >> {sshd.tools}/sudos; shift; exec "$@"')
    said = ask(sshd, service)
    judged = status.judge(sshd.way(services=(service,)), said, None)
    assert judged.is_well
    assert (judged.services[0].model, judged.services[0].restarts) == (MODEL, 2)
    assert (said["gpus"], said["gpu_fault"]) == ([], "")
    assert said["memory_bytes"] > said["available_bytes"] > 0
    assert len(sshd.commands) == 1
    assert (sshd.tools / "sudos").read_text().startswith("sudo -n sh -c ")


@pytest.fixture
def with_gpus(sshd: Sshd, nvml: dict[str, str]) -> Path:
    """Give the host a simulated NVML, and return the file that says what it shows."""
    sshd.tool("systemctl", SERVES)
    sets = " ".join(f"{name}={value}" for name, value in nvml.items())
    sshd.tool("sudo", f'shift; exec env {sets} "$@"')
    return Path(nvml["SIMULATED_NVML"])


def test_gpus_are_read_by_the_bindings_that_come_along(sshd: Sshd, service: Service, with_gpus: Path) -> None:
    with_gpus.write_text("gpus=2\nname=NVIDIA H200\nmemory=1000\nfree=400\nbusy=7\ncelsius=61\n")
    said = ask(sshd, service)
    assert (said["gpu_fault"], len(sshd.commands)) == ("", 1)
    assert said["gpus"][1] == {
        "index": 1,
        "name": "NVIDIA H200",
        "memory_bytes": 1000,
        "used_bytes": 600,
        "busy_percent": 7,
        "celsius": 61,
    }


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("init=18\n", ("the loaded NVIDIA kernel module is another version", "reboot the host")),
        ("init=999\n", ("the NVIDIA driver does not work: Unknown Error", "reinstall the driver")),
        ("gpus=2\nlost=1\n", ("GPU 1: GPU is lost", "power cycle")),
        ("ecc=2\n", ("2 uncorrected errors of memory (ECC) on GPU 0", "--gpu-reset")),
    ],
)
def test_a_driver_or_gpu_that_is_not_well_is_a_finding(
    sshd: Sshd, service: Service, with_gpus: Path, state: str, says: tuple[str, str]
) -> None:
    with_gpus.write_text(state)
    said = ask(sshd, service)
    assert said["gpu_fault"].startswith(says[0])
    assert says[1] in said["gpu_next"]


def test_a_driver_that_hangs_holds_nobody(
    sshd: Sshd, service: Service, with_gpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpus.write_text("hang=1\n")
    texts = dict(program.texts("status"))
    name = f"{program.PACKAGE}.provision.day_two.status"
    texts[name] = texts[name].replace("DRIVER_SECONDS = 20", "DRIVER_SECONDS = 0.5")
    monkeypatch.setattr(program, "texts", lambda _name: texts)
    said = ask(sshd, service)
    assert said["gpu_fault"] == "the NVIDIA driver hangs: NVML did not answer within 0.5 s"
    assert status.judge(sshd.way(services=(service,)), said, None).is_well


def test_without_the_bindings_a_gpu_host_says_so(
    sshd: Sshd, service: Service, with_gpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpus.write_text("")
    monkeypatch.setattr(bindings, "file", lambda: None)
    monkeypatch.setattr(program, "texts", program.texts.__wrapped__)
    assert "nvidia-ml-py is not installed" in ask(sshd, service)["gpu_fault"]


def test_the_bindings_travel_packed() -> None:
    """They weigh more than the program itself, so what each look sends is bounded."""
    for name in ("status", "doctor"):
        assert f"{program.PACKAGE}.{bindings.MODULE}" in program.texts(name)
        assert len(program.source(name, {})) < 120_000


def test_the_examination_judges_the_gpus(sshd: Sshd, service: Service, with_gpus: Path) -> None:
    with_gpus.write_text("gpus=2\nlost=1\n")
    sshd.tool("dmesg", "echo '[    0.1] x'; echo '[ 9.0] NVRM: Xid (PCI:0000:1b:00): 31, pid=1'")
    way = sshd.way(services=(service,))
    with Remote(way) as remote:
        facts = program.call(remote, "doctor", {"units": [], "paths": ["/"], "addresses": []})
    found = [one for one in doctor.judge(way, {**facts, "skew_s": 0.0}) if one.check == "GPU"]
    assert [(one.level, one.says.partition(" (")[0]) for one in found] == [
        (doctor.WRONG, "GPU 1: GPU is lost"),
        (doctor.NOTE, "Xid 31 of 0000:1b:00.0"),
    ]


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
        facts = program.call(remote, "doctor", here)
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


@pytest.mark.parametrize("ahead", [-20.0, 20.0])
def test_a_slow_examination_hides_no_wrong_clock(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    """A GPU that wakes slowly lies between both readings, so it does not count as the way there."""

    def slow(*_: object) -> dict[str, float]:
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 35)
        return {"clock": now + ahead, "clock_end": now + 35 + ahead}

    monkeypatch.setattr(program, "call", slow)
    with Remote(sshd.way()) as remote:
        assert doctor.inspect(remote, 60)["skew_s"] == pytest.approx(ahead, abs=1)


def test_a_user_without_root_rights_is_told_so_in_one_line(sshd: Sshd, service: Service) -> None:
    sshd.tool("sudo", "echo 'sudo: a password is required' >&2; exit 1")
    with pytest.raises(HostError) as caught:
        ask(sshd, service)
    assert caught.value.message == "ops cannot become root: sudo: a password is required"
    assert "NOPASSWD" in str(caught.value.next_step)


# Lies beside the host's Python for the lab's stand-in of Rocky 8.
OLD_PYTHON = Path(lab.__file__).parent / "dress/platform-python"


def without_python(monkeypatch: pytest.MonkeyPatch, *places: str) -> None:
    """Let a host have no Python that is new enough, and these that may be too old."""
    monkeypatch.setattr(python, "_finder", lambda: "")
    monkeypatch.setattr(python, "PLACES", ("/no/python", *places))


def test_a_host_without_python_says_what_its_shell_can(
    sshd: Sshd, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_python(monkeypatch)
    with pytest.raises(NoPython, match="has no Python, so nothing else") as caught:
        ask(sshd, service)
    assert "provision apply installs it" in str(caught.value.next_step)


def test_a_host_whose_only_python_is_too_old_is_told_what_is_required(
    sshd: Sshd, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_python(monkeypatch, str(OLD_PYTHON))
    with pytest.raises(
        NoPython, match=r"has only Python 3\.6\.8 \(/usr/libexec/platform-python\); 3\.8 or"
    ) as caught:
        ask(sshd, service)
    assert "python3.11" in str(caught.value.next_step)


def ask_with(sshd: Sshd, interpreter: str, service: Service) -> dict[str, Any]:
    way = replace(sshd.way(services=(service,)), variables={python.VARIABLE: interpreter})
    with Remote(way) as remote:
        return status.inspect(remote, 30)


def test_the_interpreter_of_the_inventory_is_used(sshd: Sshd, service: Service) -> None:
    sshd.tool("systemctl", SERVES)
    sshd.tool("chosen", f'echo "$@" >> {sshd.tools}/starts; exec python3 "$@"')
    assert ask_with(sshd, f"{sshd.tools}/chosen", service)["services"]
    assert (sshd.tools / "starts").read_text().splitlines()[-1] == "-I -"


@pytest.mark.parametrize("interpreter", ["auto", "auto_silent"])
def test_auto_finds_one_as_ansible_does(sshd: Sshd, service: Service, interpreter: str) -> None:
    sshd.tool("systemctl", SERVES)
    assert ask_with(sshd, interpreter, service)["services"]


@pytest.mark.parametrize(
    ("interpreter", "says"),
    [
        (str(OLD_PYTHON), r"which is Python 3\.6\.8 .*; 3\.8 or newer"),
        ("/no/python", "not a Python that can be run"),
    ],
)
def test_an_interpreter_of_the_inventory_that_is_of_no_use_is_refused(
    sshd: Sshd, service: Service, interpreter: str, says: str
) -> None:
    with pytest.raises(HostError, match=says) as caught:
        ask_with(sshd, interpreter, service)
    assert not isinstance(caught.value, NoPython)
    assert "ansible_python_interpreter" in str(caught.value.next_step)


def test_the_old_python_of_the_lab_refuses_what_the_real_one_does() -> None:
    def refused(text: bytes) -> bytes:
        done = subprocess.run([OLD_PYTHON, "-I", "-"], input=text, capture_output=True, check=False)
        assert done.returncode == 1
        return done.stderr

    assert refused(b"from __future__ import annotations") == (
        b"SyntaxError: future feature annotations is not defined\n"
    )
    assert b"SyntaxError" in refused(b"if (name := 1): pass")
    assert refused(program.source("status", {}))


@pytest.mark.parametrize(
    ("script", "says"),
    [("echo welcome", "unreadable answer: welcome"), ("echo boom >&2; exit 5", "exit code 5: boom")],
)
def test_an_answer_that_is_none_is_shown(sshd: Sshd, service: Service, script: str, says: str) -> None:
    sshd.tool("chosen", f'[ "$1" = -c ] && exit; {script}')
    with pytest.raises(HostError, match=says):
        ask_with(sshd, f"{sshd.tools}/chosen", service)


def test_programs_leave_nothing_behind_and_need_no_package() -> None:
    text = program.source("doctor", {"units": [], "paths": ["/"], "addresses": []})
    done = subprocess.run(
        [sys.executable, "-I", "-"],
        input=text,
        capture_output=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert json.loads(done.stdout)["python"]
    assert done.stderr == b""
