# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.packages import Allow, Apt, record
from ansible.module_utils.provision.jobs import packages as jobs_packages
from ansible.module_utils.provision.jobs.unit import UnitState

from provisioner.ansible.modules import os_packages

DONE = UnitState()
RUNNING = UnitState(active="active", invocation="one")
FAILED = UnitState(active="failed", result="exit-code", exit_status=100, invocation="one")


class Host(Apt):
    """Stand in for a package manager and the unit that drives it."""

    listing = "list them"

    def __init__(self) -> None:
        super().__init__()
        self.packages = {"bash": "bash", "libc": "libc"}
        self.comes = {"chrony": "chrony", "libchrony": "libchrony"}
        self.now = DONE
        self.owner = ""
        self.needed_too: set[str] = set()
        self.scripts: list[dict[str, Any]] = []
        self.started: list[list[str]] = []
        self.records = True

    def names_in(self, listed: str) -> set[str]:
        return set(listed.split())

    def installed(self) -> dict[str, str]:
        return dict(self.packages)

    def lock_owner(self) -> str:
        return self.owner

    def stale(self, max_age: float) -> bool:
        return max_age > 0

    def script(self, **steps: Any) -> str:
        self.scripts.append(steps)
        return "script"

    def would_remove(self, names: Iterable[str]) -> set[str]:
        return {*names, *self.needed_too}

    def start(self, _name: str, argv: list[str], **_properties: Any) -> bool:
        self.record, self.asked = Path(argv[4]), argv[5]
        assert argv[6] == self.listing
        self.started.append(argv[7:])
        if self.now is DONE:
            self.work()
        return True

    def work(self) -> None:
        """Do what the unit does: list, change, list."""
        self.record.mkdir()
        (self.record / "asked").write_text(self.asked)
        self.list("before")
        if self.scripts[-1]["remove"]:
            gone = self.started[-1]
            self.packages = {key: name for key, name in self.packages.items() if name not in gone}
        else:
            self.packages.update(self.comes)
        if self.records:
            self.list("after")

    def list(self, name: str) -> None:
        (self.record / name).write_text("\n".join(self.packages.values()))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    fake = Host()
    monkeypatch.setattr(os_packages, "manager", lambda _user: fake)
    monkeypatch.setattr(jobs_packages, "start_or_attach", fake.start)
    monkeypatch.setattr(os_packages, "state", lambda _name: fake.now)
    monkeypatch.setattr(os_packages, "wait", lambda _name, _seconds: fake.now)
    monkeypatch.setattr(os_packages, "journal_tail", lambda *_arguments: "E: Unable to locate package chrony")
    for name in ("RECORD", "LEDGER"):
        monkeypatch.setattr(record, name, tmp_path / name)
    monkeypatch.setattr(os_packages, "WAITING", tmp_path / "WAITING")
    monkeypatch.setattr(record, "STATE", tmp_path)
    return fake


def call(
    names: list[str], *, check: bool = False, warnings: list[str] | None = None, **params: Any
) -> dict[str, Any]:
    defaults = {"state": "present", "recorded": False, "cache_valid_time": 1, "lock_timeout": 600, "poll": 0}
    module = SimpleNamespace(
        params={"names": names, **defaults, **params},
        check_mode=check,
        warn=(warnings if warnings is not None else []).append,
    )
    result: dict[str, Any] = os_packages.Change(module).result()
    return result


def test_what_is_there_costs_nothing(host: Host) -> None:
    assert call(["bash"]) == {
        "changed": False,
        "finished": True,
        "missing": [],
        "installed": [],
        "removed": [],
    }
    assert not host.started


def test_installs_what_is_missing_and_reports_all_that_came(host: Host) -> None:
    result = call(["bash", "chrony"])
    assert (result["changed"], result["finished"]) == (True, True)
    assert result["installed"] == ["chrony", "libchrony"]
    assert host.started == [["chrony"]]
    # The distribution's time service makes room for chrony.
    assert host.scripts == [{"refresh": True, "remove": False, "allow": Allow(removal=True)}]
    assert call(["bash", "chrony"])["changed"] is False


def test_a_look_into_a_running_transaction_ends_nothing(host: Host) -> None:
    host.now = RUNNING
    call(["chrony"])
    # The package is there already, its companion is not yet.
    host.packages.update({"chrony": "chrony"})
    host.record.mkdir()
    assert call(["chrony"])["finished"] is False
    host.now = DONE
    host.record.rmdir()
    host.packages.pop("chrony")
    host.work()
    result = call(["chrony"])
    assert (result["finished"], result["changed"]) == (True, True)
    assert result["installed"] == ["chrony", "libchrony"]


def test_check_mode_says_it_and_does_nothing(host: Host) -> None:
    result = call(["chrony"], check=True)
    assert (result["changed"], result["missing"]) == (True, ["chrony"])
    assert result["diff"] == {"before": "", "after": "chrony\n"}
    assert not host.started
    assert not record.RECORD.exists()


def test_reports_a_transaction_that_ended_between_two_calls(host: Host) -> None:
    host.now = RUNNING
    assert call(["chrony"])["finished"] is False
    host.now = DONE
    host.work()
    result = call(["chrony"])
    assert (result["changed"], result["installed"]) == (True, ["chrony", "libchrony"])
    assert call(["chrony"])["changed"] is False


def test_what_the_operator_installs_between_two_runs_is_not_ours(host: Host) -> None:
    host.now = RUNNING
    call(["chrony"])
    host.now = DONE
    # The run ends here, the unit does not; the operator goes on.
    host.work()
    host.packages["htop"] = "htop"
    result = call(["chrony"])
    assert result["installed"] == ["chrony", "libchrony"]
    assert call([], state="absent", recorded=True)["removed"] == ["chrony", "libchrony"]
    assert "htop" in host.packages


def test_nothing_counts_as_ours_of_a_transaction_that_was_cut_off(host: Host) -> None:
    host.records = False
    assert call(["chrony"])["installed"] == []
    host.packages["htop"] = "htop"
    host.records, host.comes = True, {"tree": "tree"}
    assert call(["tree"])["installed"] == ["tree"]
    assert call([], state="absent", recorded=True)["removed"] == ["tree"]


def test_an_unreported_transaction_is_recorded_before_the_next(host: Host) -> None:
    host.now = RUNNING
    call(["chrony"])
    host.now = DONE
    host.work()
    host.comes = {"tree": "tree"}
    assert call(["tree"])["installed"] == ["tree"]
    assert call(["chrony"], state="absent", recorded=True)["removed"] == ["chrony", "libchrony"]


def test_waits_for_a_lock_and_names_its_owner(host: Host) -> None:
    host.owner = "unattended-upgr (process 812)"
    result = call(["chrony"])
    assert result["finished"] is False
    assert result["provision"]["progress"]["label"] == "waiting for unattended-upgr (process 812)"
    assert not host.started
    with pytest.raises(Fault, match=r"unattended-upgr \(process 812\) has held"):
        call(["chrony"], lock_timeout=-1)
    host.owner = ""
    assert call(["chrony"])["changed"] is True
    assert not os_packages.WAITING.exists()


def test_a_failed_transaction_shows_its_end_and_the_way_on(host: Host) -> None:
    host.now = FAILED
    with pytest.raises(Fault, match="installing chrony failed: E: Unable to locate") as caught:
        call(["chrony"])
    assert "mirror" in caught.value.next_step


def test_a_package_that_did_not_come_is_an_error(host: Host) -> None:
    host.comes = {}
    with pytest.raises(Fault, match="reported success, but chrony is not installed"):
        call(["chrony"])


def test_restores_only_what_it_brought(host: Host) -> None:
    call(["bash", "chrony"])
    result = call([], state="absent", recorded=True)
    assert result["removed"] == ["chrony", "libchrony"]
    assert host.packages == {"bash": "bash", "libc": "libc"}
    assert not record.LEDGER.exists()
    assert call([], state="absent", recorded=True)["changed"] is False


def test_keeps_what_others_need_by_now(host: Host) -> None:
    call(["chrony"])
    host.needed_too = {"their-tool"}
    warnings: list[str] = []
    assert call(["chrony"], state="absent", recorded=True, warnings=warnings)["changed"] is False
    assert warnings == ["chrony, libchrony not removed: their-tool, installed later, need them"]


def test_removes_by_name(host: Host) -> None:
    host.packages["nouveau"] = "nouveau"
    result = call(["nouveau", "missing"], state="absent")
    assert result["removed"] == ["nouveau"]
    assert result["diff"] == {"before": "nouveau\n", "after": ""}


@pytest.mark.parametrize("name", ["foo*", "-y", "foo-", "./local.rpm", "a b", "^group", ""])
def test_refuses_names_that_are_patterns(host: Host, name: str) -> None:
    with pytest.raises(Fault, match="not the name of a package"):
        call([name])
    assert not host.started


def test_only_another_time_service_makes_room_for_what_is_requested(host: Host) -> None:
    host.comes = {"tree": "tree"}
    call(["tree"])
    assert host.scripts[-1]["allow"] == Allow()


def test_the_ledger_survives_a_second_transaction(host: Host) -> None:
    call(["chrony"])
    host.comes = {"tree": "tree"}
    call(["tree"])
    assert [entry["installed"] for entry in json.loads(record.LEDGER.read_text())] == [
        ["chrony", "libchrony"],
        ["tree"],
    ]
    assert call(["tree"], state="absent", recorded=True)["removed"] == ["tree"]
    assert "chrony" in host.packages


def test_keeps_what_a_later_transaction_of_ours_needs(host: Host) -> None:
    call(["chrony"])
    host.comes = {"tool": "tool"}
    call(["tool"])
    host.needed_too = {"tool"}
    assert call(["chrony"], state="absent", recorded=True)["changed"] is False
    host.needed_too = set()
    assert call([], state="absent", recorded=True)["removed"] == ["chrony", "libchrony", "tool"]
