# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.host.systemd import UnitState
from ansible.module_utils.provision.jobs import unit

from tests.unit.fakes import Systemd

RUNNING = UnitState(active="active", invocation="new")


def start(argv: list[str] | None = None, **properties: Any) -> bool:
    return bool(unit.start_or_attach("provision-job-x", argv or ["/bin/true"], properties=properties))


def test_starts_a_unit_that_does_not_run(systemd: Systemd) -> None:
    assert start(Description="a b")
    assert systemd.programs.calls[-1][:4] == (
        "systemd-run",
        "--quiet",
        "--no-block",
        "--unit=provision-job-x.service",
    )
    assert systemd.started == [("provision-job-x", ["/bin/true"], {"Description": "a b"})]


def test_attaches_to_a_running_unit(systemd: Systemd) -> None:
    systemd.state = UnitState(active="activating")
    assert not start()
    assert not systemd.started


def test_attaches_when_another_caller_was_first(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd.refusals = ["Unit provision-job-x.service already exists."]
    monkeypatch.setattr(unit.time, "sleep", lambda _seconds: vars(systemd).update(state=RUNNING))
    assert not start()
    assert systemd.started == []


def test_tries_again_while_systemd_still_holds_the_last_run(systemd: Systemd) -> None:
    systemd.refusals = ["Unit provision-job-x.service was already loaded or has a fragment file."] * 2
    assert start()
    assert systemd.refusals == []


def test_says_what_systemd_refused(systemd: Systemd) -> None:
    systemd.refusals = ["Unknown assignment: Colour=red"]
    with pytest.raises(unit.Fault, match="Colour=red") as caught:
        start(Colour="red")
    assert "systemctl status provision-job-x" in caught.value.next_step


def test_a_failure_between_two_polls_is_read_once_and_then_started_over(systemd: Systemd) -> None:
    systemd.state = UnitState(active="failed", result="exit-code", exit_status=7, invocation="first")
    assert not start()
    read = unit.wait("provision-job-x", 0)
    assert (read.failed, read.exit_status, read.invocation) == (True, 7, "first")
    assert start()


def test_an_old_failure_is_started_over(systemd: Systemd) -> None:
    ago = unit.FRESH_FAILURE_SECONDS + 1
    systemd.state = UnitState(active="failed", invocation="old", ended_seconds=ago)
    assert start()


def test_waits_no_longer_than_asked(systemd: Systemd) -> None:
    systemd.state = RUNNING
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
    assert [word for word in systemd.programs.calls[-1] if word.startswith(f"--property={key}=")] == expected


def test_keeps_dollars_and_hands_over_the_environment_file(systemd: Systemd) -> None:
    unit.start_or_attach(
        "provision-job-x", ["/bin/sh", "-c", "echo $HOME"], properties={}, environment_file="/etc/x.env"
    )
    (started,) = systemd.started
    assert started.argv == ["/bin/sh", "-c", "echo $$HOME"]
    assert started.properties == {"EnvironmentFile": "/etc/x.env"}


def test_the_journal_of_one_run_only(systemd: Systemd) -> None:
    systemd.journal = ["last words"]
    assert unit.journal_tail("provision-job-x", 5, "abc") == "last words"
    assert "_SYSTEMD_INVOCATION_ID=abc" in systemd.programs.calls[-1]
    unit.journal_tail("provision-job-x")
    assert "--unit=provision-job-x.service" in systemd.programs.calls[-1]


def test_stop_stops_and_forgets(systemd: Systemd) -> None:
    unit.stop("provision-job-x")
    assert systemd.calls == ["stop provision-job-x", "reset-failed provision-job-x"]


def test_a_job_gets_the_hosts_proxy_before_the_settings_of_its_role(
    systemd: Systemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit.proxy, "FILE", tmp_path / "proxy.env")
    given: dict[str, Any] = {"properties": {}, "environment_file": "/etc/provision/role.env"}
    assert unit.start_or_attach("provision-job-x", ["/bin/true"], **given)
    (tmp_path / "proxy.env").touch()
    systemd.state = UnitState()
    assert unit.start_or_attach("provision-job-x", ["/bin/true"], **given)
    starts = [call for call in systemd.programs.calls if call[0] == "systemd-run"]
    found = [[word for word in call if "EnvironmentFile" in word] for call in starts]
    # systemd reads them in this order, and the last one wins.
    own = "--property=EnvironmentFile=/etc/provision/role.env"
    assert found == [[own], [f"--property=EnvironmentFile=-{tmp_path}/proxy.env", own]]
