# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from ansible.module_utils.provision.host import systemd
from ansible.module_utils.provision.host.fault import Fault

from tests.unit.fakes import Programs, Said

SHOWN = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "Result": "success",
    "ExecMainStatus": "0",
    "MainPID": "77",
    "NRestarts": "2",
    "NeedDaemonReload": "no",
    "InvocationID": "abc",
    "ActiveEnterTimestampMonotonic": "1000000",
    "InactiveEnterTimestampMonotonic": "500000",
    "ControlGroup": "/system.slice/vllm.service",
    "Job": "0",
}


def seen(programs: Programs, **changes: str) -> systemd.UnitState:
    programs.add("systemctl", "".join(f"{name}={value}\n" for name, value in {**SHOWN, **changes}.items()))
    return systemd.state("vllm.service")


def test_reads_a_serving_unit(programs: Programs) -> None:
    found = seen(programs)
    assert (found.serving, found.starting, found.running, found.failed) == (True, False, True, False)
    assert (found.loaded, found.enabled, found.main_pid, found.restarts) == (True, True, 77, 2)
    assert found.ended_seconds > found.active_seconds > 0


def test_reads_a_unit_that_has_failed(programs: Programs) -> None:
    found = seen(programs, ActiveState="failed", Result="exit-code", ExecMainStatus="7")
    assert (found.running, found.failed, found.result, found.exit_status) == (False, True, "exit-code", 7)
    assert found.active_seconds == 0


@pytest.mark.parametrize("active", ["active", "inactive", "failed"])
def test_a_queued_job_counts_as_starting(programs: Programs, active: str) -> None:
    found = seen(programs, ActiveState=active, Job="815")
    assert (found.serving, found.starting) == (False, True)


def test_a_unit_between_two_attempts(programs: Programs) -> None:
    assert seen(programs, ActiveState="activating", SubState="auto-restart").between_attempts


def test_a_refusal_of_systemd_says_what_was_requested(programs: Programs) -> None:
    programs.add("systemctl", Said(code=1, err="Access denied\n"))
    with pytest.raises(Fault, match=r"systemctl enable vllm\.service failed: Access denied"):
        systemd.systemctl("enable", "vllm.service")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("enable", "docker.service"), "Unit /etc/systemd/system/docker.service is masked"),
        (("--no-block", "start", "docker.service"), "Failed to start docker.service: Unit is masked."),
        (("enable", "docker.service"), "Unit docker.service has been masked."),
    ],
)
def test_the_remedy_for_a_masked_unit_is_to_unmask_it(
    programs: Programs, words: tuple[str, ...], said: str
) -> None:
    programs.add("systemctl", Said(code=1, err=said))
    with pytest.raises(Fault) as caught:
        systemd.systemctl(*words)
    assert caught.value.next_step == "run `systemctl unmask docker.service` on the host"


def test_the_journal_is_read_without_a_pager(programs: Programs) -> None:
    programs.add("journalctl", "one\ntwo\n\n")
    assert systemd.journal(5, "--unit", "vllm.service") == "one\ntwo"
    (argv,) = programs.calls
    assert {"--no-pager", "--lines=5", "vllm.service"} <= set(argv)


@pytest.mark.parametrize(
    ("text", "expected"), [("A=b c", '"A=b c"'), ('D="e"\\', '"D=\\"e\\"\\\\"'), ("/a b", '"/a b"')]
)
def test_quotes_one_item_of_a_list(text: str, expected: str) -> None:
    assert systemd.quoted(text) == expected


def test_reads_what_systemctl_shows() -> None:
    shown = "ActiveState=active\nEnvironment=A=1 B=2\nResult=\n\nnot a property\n"
    assert systemd.unit_values(shown) == {"ActiveState": "active", "Environment": "A=1 B=2", "Result": ""}


@pytest.mark.parametrize(
    ("active", "job", "expected"),
    [
        ("active", "0", "active"),
        ("active", "815", "activating"),
        ("inactive", "", "inactive"),
        ("inactive", "815", "activating"),
        ("failed", "815", "activating"),
        ("deactivating", "815", "deactivating"),
    ],
)
def test_a_queued_start_counts_as_activating(active: str, job: str, expected: str) -> None:
    assert systemd.state_of({"ActiveState": active, "Job": job}).active == expected


def test_a_unit_that_systemd_says_nothing_of_is_inactive() -> None:
    assert systemd.state_of({}).active == "inactive"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1min", 60),
        ("5min 45s", 345),
        ("1h 30min 500ms", 5400.5),
        ("infinity", 0),
        ("", 0),
    ],
)
def test_a_time_is_read_as_systemd_shows_it(text: str, seconds: float) -> None:
    assert systemd.duration(text) == seconds
