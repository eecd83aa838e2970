# SPDX-License-Identifier: Apache-2.0
"""Which runs are kept: by kind, age and size, and never without the last evidence of a host."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from provisioner.remote import status
from provisioner.runs import evidence, retention, rundir
from provisioner.runs.fold import Fold
from provisioner.runs.report import Driver
from provisioner.runs.retention import Limits
from provisioner.runs.rundir import RunDir

SITE = ("Preflight", "Host", "Verify")


class Runs:
    """Leave runs, each a minute older than the one after it."""

    def __init__(self, folder: Path) -> None:
        self.inventory = folder / "fleet.ini"
        self.inventory.touch()
        self.made = 0

    def leave(
        self,
        phases: tuple[str, ...] = SITE,
        *hosts: str,
        days: float = 0,
        check: bool = False,
        source: str = "",
        report: bool = True,
        size: int = 0,
        driver: str = "",
    ) -> str:
        self.made += 1
        began = datetime.now(UTC) - timedelta(days=days, minutes=10_000 - self.made)
        run = RunDir(rundir.root() / f"{began:%Y%m%d-%H%M%S}000-{self.made:04x}")
        run.path.mkdir(parents=True)
        rundir.write(run.plan, json.dumps({"inventory": source or str(self.inventory)}))
        run.events.write_text("x" * size)
        if report:
            made = Fold(hosts or ("gpu1",), phases).report(run=run.id)
            seen = (Driver("gpu1", driver),) if driver else ()
            rundir.write(
                run.report,
                json.dumps(
                    {**json.loads(made.to_json()), "check": check, "drivers": [vars(one) for one in seen]}
                ),
            )
        return run.id


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Runs(tmp_path)


def kept() -> list[str]:
    return sorted(run.id for run in rundir.runs())


@pytest.mark.parametrize("looks", [{"phases": ("Verify",)}, {"check": True}])
def test_an_apply_outlives_any_number_of_runs_that_only_look(runs: Runs, looks: dict[str, object]) -> None:
    applied = [runs.leave() for _ in range(3)]
    looked = [runs.leave(**looks) for _ in range(60)]  # type: ignore[arg-type]
    assert retention.prune() == tuple(looked[:10])
    assert kept() == applied + looked[10:]


def test_applies_and_removals_have_a_number_too(runs: Runs) -> None:
    changed = [runs.leave(phases) for phases in (SITE, ("Remove",)) * 3]
    assert retention.prune(Limits(changes=2)) == tuple(changed[:4])


@pytest.mark.parametrize(("phases", "days"), [(("Verify",), 100), (SITE, 800)])
def test_old_runs_go_by_the_age_of_their_kind(runs: Runs, phases: tuple[str, ...], days: float) -> None:
    old = runs.leave(phases, days=days)
    runs.leave(days=80)
    runs.leave(("Verify",), days=80)
    assert retention.prune() == (old,)


def test_those_that_only_looked_go_first_when_all_are_too_large(runs: Runs) -> None:
    changed = [runs.leave(size=10_000) for _ in range(3)]
    looked = [runs.leave(("Verify",), size=10_000) for _ in range(3)]
    assert retention.prune(Limits(total_bytes=55_000)) == (looked[0],)
    assert retention.prune(Limits(total_bytes=35_000)) == (changed[0], looked[1])
    assert retention.prune(Limits(total_bytes=0)) == (changed[1],)
    assert kept() == [changed[2], looked[2]]


def test_the_last_run_never_becomes_none(runs: Runs, tmp_path: Path) -> None:
    first = runs.leave(SITE, "gpu1", "gpu2", days=3000, driver="580.1")
    for _ in range(5):
        runs.leave(SITE, "gpu2")
    (tmp_path / "other.ini").touch()
    for _ in range(5):
        runs.leave(SITE, "gpu1", source=str(tmp_path / "other.ini"))
    retention.prune(Limits(looks=0, changes=0, total_bytes=0))
    found = status.last_runs(str(runs.inventory), ["gpu1", "gpu2"])
    assert found["gpu1"].id == first
    assert found["gpu2"].id > first
    assert evidence.drivers(str(runs.inventory), ["gpu1"]) == {"gpu1": "580.1"}
    assert len(kept()) == 3


def test_the_driver_that_was_last_seen_stays_known(runs: Runs) -> None:
    seen = runs.leave(driver="580.1")
    for _ in range(3):
        runs.leave()
    retention.prune(Limits(changes=1))
    assert kept()[0] == seen


def test_the_runs_of_an_inventory_that_is_gone_are_not_kept_for_ever(runs: Runs) -> None:
    gone = runs.leave(source="/gone.ini", days=800)
    inline = runs.leave(source="gpu1,gpu2,", days=800)
    assert retention.prune() == (gone,)
    assert kept() == [inline]


def test_a_run_that_may_still_run_stays_and_an_abandoned_or_damaged_one_goes_in_its_turn(runs: Runs) -> None:
    abandoned = runs.leave(report=False, days=9)
    damaged = runs.leave(days=3)
    (rundir.root() / damaged / "report.json").write_text("{half")
    running = runs.leave(report=False)
    assert retention.prune() == ()
    assert retention.prune(Limits(changes=0)) == (abandoned, damaged)
    assert kept() == [running]
