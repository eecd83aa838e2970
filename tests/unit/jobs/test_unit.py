# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.jobs import unit

from tests.unit.fakes import Programs, Said


class Systemd:
    """Stand in for systemd: answer systemctl, systemd-run and journalctl from a small state."""

    def __init__(self, programs: Programs) -> None:
        self.programs = programs
        self.values = {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
        self.refusals: list[str] = []
        self.journal = ""
        programs.add("systemctl", self.control)
        programs.add("systemd-run", self.run)
        programs.add("journalctl", lambda _: Said(self.journal))

    def control(self, argv: Sequence[str]) -> Said:
        if argv[0] == "reset-failed":
            self.become("inactive")
        return Said("".join(f"{key}={value}\n" for key, value in self.values.items()))

    def run(self, _argv: Sequence[str]) -> Said:
        if self.refusals:
            return Said(code=1, err=self.refusals.pop(0))
        self.become("active", invocation="new")
        return Said()

    def become(self, active: str, *, result: str = "success", status: int = 0, invocation: str = "") -> None:
        ended = str(int(time.monotonic() * 1e6))
        self.values = {
            "ActiveState": active,
            "Result": result,
            "ExecMainStatus": str(status),
            "InvocationID": invocation,
            "InactiveEnterTimestampMonotonic": ended,
        }

    def started(self) -> list[tuple[str, ...]]:
        return [argv for argv in self.programs.calls if argv[0] == "systemd-run"]


@pytest.fixture
def systemd(programs: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Systemd:
    monkeypatch.setattr(unit, "REPORTED", tmp_path / "reported")
    monkeypatch.setattr(unit.time, "sleep", lambda _seconds: None)
    return Systemd(programs)


def start(argv: list[str] | None = None, **properties: Any) -> bool:
    return bool(unit.start_or_attach("provision-job-x", argv or ["/bin/true"], properties=properties))


def test_starts_a_unit_that_does_not_run(systemd: Systemd) -> None:
    assert start(Description="a b")
    assert systemd.started()[0][:4] == (
        "systemd-run",
        "--quiet",
        "--no-block",
        "--unit=provision-job-x.service",
    )
    assert "--property=Description=a b" in systemd.started()[0]


def test_attaches_to_a_running_unit(systemd: Systemd) -> None:
    systemd.become("activating")
    assert not start()
    assert not systemd.started()


def test_attaches_when_another_caller_was_first(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd.refusals = ["Unit provision-job-x.service already exists."]
    monkeypatch.setattr(unit.time, "sleep", lambda _seconds: systemd.become("active"))
    assert not start()
    assert len(systemd.started()) == 1


def test_tries_again_while_systemd_still_holds_the_last_run(systemd: Systemd) -> None:
    systemd.refusals = ["Unit provision-job-x.service was already loaded or has a fragment file."] * 2
    assert start()
    assert len(systemd.started()) == 3


def test_says_what_systemd_refused(systemd: Systemd) -> None:
    systemd.refusals = ["Unknown assignment: Colour=red"]
    with pytest.raises(unit.Fault, match="Colour=red") as caught:
        start(Colour="red")
    assert "systemctl status provision-job-x" in caught.value.next_step


def test_a_failure_between_two_polls_is_read_once_and_then_started_over(systemd: Systemd) -> None:
    systemd.become("failed", result="exit-code", status=7, invocation="first")
    assert not start()
    read = unit.wait("provision-job-x", 0)
    assert (read.failed, read.exit_status, read.invocation) == (True, 7, "first")
    assert start()


def test_an_old_failure_is_started_over(systemd: Systemd) -> None:
    systemd.become("failed", invocation="old")
    long_ago = time.monotonic() - unit.FRESH_FAILURE_SECONDS - 1
    systemd.values["InactiveEnterTimestampMonotonic"] = str(int(long_ago * 1e6))
    assert start()


def test_a_queued_job_counts_as_running(systemd: Systemd) -> None:
    systemd.values["Job"] = "812"
    assert unit.state("provision-job-x").running


def test_waits_no_longer_than_asked(systemd: Systemd) -> None:
    systemd.become("active")
    assert unit.wait("provision-job-x", 0).running


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("RemainAfterExit", False, ["--property=RemainAfterExit=no"]),
        ("RuntimeMaxSec", 60, ["--property=RuntimeMaxSec=60"]),
        (
            "Environment",
            ["A=b c", 'D="e"\\'],
            ['--property=Environment="A=b c"', '--property=Environment="D=\\"e\\"\\\\"'],
        ),
    ],
)
def test_writes_properties_as_systemd_reads_them(
    systemd: Systemd, key: str, value: object, expected: list[str]
) -> None:
    unit.start_or_attach("provision-job-x", ["/bin/true"], properties={key: value})
    assert [word for word in systemd.started()[0] if word.startswith(f"--property={key}=")] == expected


def test_keeps_dollars_and_hands_over_the_environment_file(systemd: Systemd) -> None:
    unit.start_or_attach(
        "provision-job-x", ["/bin/sh", "-c", "echo $HOME"], properties={}, environment_file="/etc/x.env"
    )
    assert systemd.started()[0][-5:] == (
        "--property=EnvironmentFile=/etc/x.env",
        "--",
        "/bin/sh",
        "-c",
        "echo $$HOME",
    )


def test_the_journal_of_one_run_only(systemd: Systemd) -> None:
    systemd.journal = "last words\n"
    assert unit.journal_tail("provision-job-x", 5, "abc") == "last words"
    assert "_SYSTEMD_INVOCATION_ID=abc" in systemd.programs.calls[-1]
    unit.journal_tail("provision-job-x")
    assert "--unit=provision-job-x.service" in systemd.programs.calls[-1]


def test_stop_stops_and_forgets(systemd: Systemd) -> None:
    unit.stop("provision-job-x")
    assert [argv[1] for argv in systemd.programs.calls] == ["stop", "reset-failed"]
