# SPDX-License-Identifier: Apache-2.0
"""A unit's outcome is told to whoever asked for it, and to nobody else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.provision.driver import hold, outcome
from ansible.module_utils.provision.driver.orders import Orders
from ansible.module_utils.provision.gpu.kernel import KernelModule
from ansible.module_utils.provision.host.fault import ConsentNeeded, Fault
from ansible.module_utils.provision.host.files import read_json, write_json
from ansible.module_utils.provision.host.packages import Apt
from ansible.module_utils.provision.jobs.job import Job

from provisioner.ansible.modules import nvidia_driver
from tests.unit.driver.test_decision import WORKING

DEFAULTS = {name: option.get("default") for name, option in nvidia_driver.ARGUMENTS.items()}
DONE = {"changed": True, "version": "580.159.04", "reboot": "", "warnings": ["one was left out"]}


class Host:
    """A host whose unit ran before, and notes what is started now."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.started: list[str] = []
        self.orders: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.running = False
        self.seen = WORKING
        self.result, self.spec = (folder / f"provision-job-driver{end}.json" for end in ("", ".spec"))
        self.record = folder / "record.json"
        monkeypatch.setattr(outcome, "RUNTIME", folder)
        monkeypatch.setattr(outcome, "REPORTED", folder / "reported")
        monkeypatch.setattr(nvidia_driver, "RECORD", self.record)
        monkeypatch.setattr(hold, "LEDGER", folder / "holds.json")
        monkeypatch.setattr(hold, "drift", lambda *_, **__: [])
        monkeypatch.setattr(nvidia_driver, "driver_manager", Apt)
        monkeypatch.setattr(nvidia_driver, "look", lambda: self.seen)
        monkeypatch.setattr(Job, "running", property(lambda _: self.running))
        monkeypatch.setattr(Job, "advance", self.advance)
        write_json(self.record, {"source": "nvidia", "version": "580.159.04", "state": "done"}, 0o644)

    def advance(self, verb: str, orders: Orders, _limits: Any) -> None:
        self.started.append(verb)
        self.orders.append(orders.to_dict())

    def was_asked(self, verb: str, **asked: Any) -> None:
        """Have an earlier run's unit ended well, without anybody having been told."""
        about = {"verb": verb, "asked": asked, "source": "nvidia", "version": "580", "modules": "open"}
        write_json(self.result, {**about, "state": "done", "invocation": "1", "outcome": DONE}, 0o644)

    def call(self, state: str, **words: Any) -> dict[str, Any]:
        """Run the module and return its result."""
        params = {**DEFAULTS, "state": state, "consent": True, **words}

        module = SimpleNamespace(params=params, check_mode=False, warn=self.warnings.append)
        result: dict[str, Any] = nvidia_driver.STATES[state](module)
        return result


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    return Host(monkeypatch, tmp_path)


def words(**more: Any) -> dict[str, Any]:
    return {**nvidia_driver.asked_of(DEFAULTS), **more}


def test_who_asks_again_is_told_what_came_of_it_once(host: Host) -> None:
    host.was_asked("install", **words(version="580"))
    assert host.call("present", version="580")["version"] == "580.159.04"
    assert host.call("present", version="580")["changed"] is False
    assert host.started == []
    assert host.warnings == ["one was left out"]


def test_who_asks_for_another_driver_gets_that_one(host: Host) -> None:
    host.was_asked("install", **words(version="580"))
    assert host.call("present", version="595")["finished"] is False
    assert host.started == ["install"]
    assert read_json(outcome.REPORTED, None) == "1"


def test_a_removal_follows_an_installation_that_was_cut_off(host: Host) -> None:
    host.was_asked("install", **words(version="580"))
    assert host.call("absent")["finished"] is False
    assert host.started == ["remove"]


def test_a_removal_that_ended_between_two_looks_is_told(host: Host) -> None:
    host.was_asked("remove")
    host.record.unlink()
    assert host.call("absent")["changed"] is True
    assert host.started == []


def test_nothing_is_planned_while_the_driver_is_being_removed(host: Host) -> None:
    host.running = True
    write_json(host.spec, {"verb": "remove"}, 0o600)
    with pytest.raises(Fault, match="an earlier run is removing the driver"):
        host.call("inspected")


def test_a_driver_that_is_damaged_is_repaired_though_an_older_order_was_done(host: Host) -> None:
    host.was_asked("install", **words())
    host.call("present")
    host.seen = replace(WORKING, ready=KernelModule("580.105.08", "open", WORKING.booting, ""))
    assert host.call("present")["finished"] is False
    assert host.started == ["install"]


def test_the_orders_of_a_job_are_read_as_they_were_written(host: Host) -> None:
    host.call("present", version="595")
    host.call("absent")
    for written in host.orders:
        assert Orders.read(json.loads(json.dumps(written))).to_dict() == written
    # What the jobs of earlier builds are known by, and may be running still.
    assert {"verb", "asked", "source", "version", "modules", "title"} <= set(host.orders[0])


def test_what_needs_consent_is_refused_with_all_of_it(host: Host) -> None:
    host.seen = replace(WORKING, holders=["python3 (process 7 of ada) uses /dev/nvidia0"])
    with pytest.raises(ConsentNeeded) as refused:
        host.call("inspected", version="595", consent=False)
    assert len(refused.value.changes) == 1
    assert refused.value.changes[0].startswith("replace ")
