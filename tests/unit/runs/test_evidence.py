# SPDX-License-Identifier: Apache-2.0
"""What is known of hosts from earlier runs of the same inventory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from provisioner.ansible.module_utils.provision.host.payload import DriverSeen, Payload, Replaced
from provisioner.fleet import inventory, spec
from provisioner.runs import events, evidence, plan, rundir
from provisioner.runs.fold import fold


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def leave(source: str, **installed: str | None) -> None:
    """Leave the evidence of a run that saw these drivers."""
    seen = [
        events.Result(
            t=1.0,
            host=host,
            phase="Preflight",
            task="Plan the driver change",
            status="ok",
            provision=Payload(driver=DriverSeen(version)),
        )
        for host, version in installed.items()
    ]
    made = rundir.create()
    rundir.write(made.plan, json.dumps({"inventory": source}))
    rundir.write(made.report, fold(seen, hosts=tuple(installed)).to_json())


def test_the_last_look_at_each_host_counts(tmp_path: Path) -> None:
    source = str(tmp_path / "gpu.ini")
    leave(source, gpu1="580.105.08", gpu2="580.105.08")
    leave(source, gpu1="580.159.04")
    assert evidence.drivers(source, ["gpu1", "gpu2", "gpu3"]) == {"gpu1": "580.159.04", "gpu2": "580.105.08"}


def test_a_host_that_lost_its_driver_has_none(tmp_path: Path) -> None:
    source = str(tmp_path / "gpu.ini")
    leave(source, gpu1="580.105.08")
    leave(source, gpu1=None)
    assert evidence.drivers(source, ["gpu1"]) == {}


def test_runs_of_other_inventories_say_nothing(tmp_path: Path) -> None:
    leave(str(tmp_path / "other.ini"), gpu1="580.105.08")
    assert evidence.drivers(str(tmp_path / "gpu.ini"), ["gpu1"]) == {}


def test_a_plan_names_the_driver_that_it_would_replace(tmp_path: Path) -> None:
    path = tmp_path / "gpu.ini"
    path.write_text("gpu1 nvidia_driver_version=595\ngpu2 nvidia_driver_version=580\ngpu3\n")
    leave(str(path), gpu1="580.159.04", gpu2="580.159.04", gpu3="580.159.04")
    (change,) = plan.make(spec.load(inventory.load(str(path)))).changes
    assert change.startswith("gpu1: driver 580.159.04, which the last run found, is replaced by 595")


def look(source: str, *payloads: Payload) -> None:
    """Leave the evidence of a run in which the host gpu1 reported these."""
    place = {"t": 1.0, "host": "gpu1", "phase": "Preflight", "task": "Probe the host", "status": "ok"}
    seen = [events.Result(**place, provision=one) for one in payloads]  # type: ignore[arg-type]
    made = rundir.create()
    rundir.write(made.plan, json.dumps({"inventory": source}))
    rundir.write(made.report, fold(seen, hosts=("gpu1",)).to_json())


OLD = Payload(replaced=(Replaced("vllm.service", ("/usr/lib/libssl.so.3",)),))
NEW = Payload(replaced=(Replaced("vllm.service"),))


def test_a_plan_says_what_ran_with_replaced_libraries_until_a_look_finds_none(tmp_path: Path) -> None:
    path = tmp_path / "gpu.ini"
    path.write_text("gpu1\n")

    def notes() -> list[str]:
        made = plan.make(spec.load(inventory.load(str(path))))
        return [warning for warning in made.warnings if "vllm.service" in warning]

    assert notes() == []
    look(str(path), OLD)
    (note,) = notes()
    assert "when the last run looked, vllm.service still runs" in note
    assert note.endswith("libssl.so.3; apply does not restart it for that alone, on gpu1")
    look(str(path), NEW)
    assert notes() == []


def test_a_restart_in_the_run_clears_what_its_probe_saw() -> None:
    place = {"t": 1.0, "host": "gpu1", "phase": "Serve", "task": "x", "status": "ok"}
    seen = [events.Result(**place, provision=one) for one in (OLD, NEW)]  # type: ignore[arg-type]
    assert [warned.text for warned in fold(seen).warnings] == []
    (warned,) = fold(seen[:1]).warnings
    assert warned.text.startswith("vllm.service still runs with files that an update has replaced: libssl")


def test_what_a_run_sees_comes_out_of_its_events_as_ansible_writes_them() -> None:
    line = {
        "v": 1,
        "event": "result",
        "t": 1.0,
        "host": "gpu1",
        "phase": "Preflight",
        "task": "Decide",
        "status": "ok",
        "provision": {"driver": {"installed": "580.159.04", "loaded": "580.159.04"}},
    }
    event = events.parse(json.dumps(line))
    assert event is not None
    (driver,) = fold([event]).drivers
    assert (driver.host, driver.installed) == ("gpu1", "580.159.04")
