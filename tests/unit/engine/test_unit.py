# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess

import pytest
from ansible.module_utils.provision.engine import unit
from ansible.module_utils.provision.host.fault import Fault

SHOWN = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "Result": "success",
    "MainPID": "77",
    "NRestarts": "2",
    "NeedDaemonReload": "no",
    "InvocationID": "abc",
    "ActiveEnterTimestampMonotonic": "1000000",
    "ControlGroup": "/system.slice/vllm.service",
    "Job": "0",
}


def _systemctl(monkeypatch: pytest.MonkeyPatch, code: int = 0, **changes: str) -> None:
    text = "".join(f"{name}={value}\n" for name, value in {**SHOWN, **changes}.items())

    def call(*argv: str, seconds: float = 0) -> subprocess.CompletedProcess[str]:
        del seconds
        return subprocess.CompletedProcess(argv, code, text, "Access denied")

    monkeypatch.setattr(unit, "call", call)


def test_reads_a_serving_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    _systemctl(monkeypatch)
    status = unit.status("vllm.service")
    assert (status.serving, status.starting, status.enabled) == (True, False, True)
    assert (status.main_pid, status.restarts) == (77, 2)
    assert status.active_seconds > 0


@pytest.mark.parametrize("active", ["active", "inactive", "failed"])
def test_a_queued_job_counts_as_starting(monkeypatch: pytest.MonkeyPatch, active: str) -> None:
    _systemctl(monkeypatch, ActiveState=active, Job="815")
    status = unit.status("vllm.service")
    assert (status.serving, status.starting) == (False, True)


def test_a_unit_between_two_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    _systemctl(monkeypatch, ActiveState="activating", SubState="auto-restart")
    assert unit.status("vllm.service").between_attempts


def test_a_refusal_of_systemd_says_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    _systemctl(monkeypatch, code=1)
    with pytest.raises(Fault, match=r"systemctl enable vllm\.service failed: Access denied"):
        unit.systemctl("enable", "vllm.service")


def test_a_program_that_is_missing_or_hangs_is_named() -> None:
    with pytest.raises(Fault, match="no-such-program is not installed"):
        unit.call("no-such-program")
    with pytest.raises(Fault, match="sleep 60 did not end within"):
        unit.call("sleep", "60", seconds=0.01)
