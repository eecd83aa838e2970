# SPDX-License-Identifier: Apache-2.0
"""Recorded events in, the whole report out: tests/data/events/<case>.jsonl and <case>.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from provisioner.ansible.module_utils.provision.host.payload import Payload, Rung
from provisioner.runs import events
from provisioner.runs import report as r
from provisioner.runs.fold import RUNNING, WAITING, Fold, fold

DATA = Path(__file__).resolve().parents[2] / "data" / "events"
CASES = sorted(path.stem for path in DATA.glob("*.jsonl"))
PHASES = ("Preflight", "Host", "Models", "Serve", "Verify")


def recorded(case: str) -> list[events.Event]:
    return list(events.read(DATA / f"{case}.jsonl"))


def outcomes(report: r.Report) -> dict[str, list[str]]:
    return {host.name: [cell.outcome for cell in host.cells] for host in report.hosts}


@pytest.mark.parametrize("case", CASES)
def test_recorded_events_give_the_expected_report(case: str) -> None:
    expected = json.loads((DATA / f"{case}.json").read_text(encoding="utf-8"))
    assert json.loads(fold(recorded(case)).to_json()) == expected


@pytest.mark.parametrize("case", CASES)
def test_a_report_survives_its_own_document(case: str) -> None:
    report = fold(recorded(case), run="20261121-080102003-beef", log="/tmp/ansible.log")
    assert r.Report.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": "other/1"}', '{"schema": "provision.report/1"}']
)
def test_another_document_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"schema|Expecting"):
        r.Report.from_json(text)


def test_the_others_finish_when_one_host_is_down() -> None:
    report = fold(recorded("one_down"), phases=PHASES)
    assert outcomes(report) == {
        "alpha": ["ok", "changed", "changed", "changed", "ok"],
        "beta": ["ok", "changed", "changed", "changed", "ok"],
        "gamma": ["unreachable", "not reached", "not reached", "not reached", "not reached"],
    }
    assert [(failure.host, failure.kind) for failure in report.failures] == [("gamma", "unreachable")]
    assert report.exit_code == 1


def test_a_phase_and_a_host_that_never_came_are_not_reached() -> None:
    report = fold(recorded("cut_short"), hosts=("alpha", "beta", "planned"), phases=PHASES)
    assert outcomes(report) == {
        "alpha": ["ok", "skipped", "interrupted", "not reached", "not reached"],
        "beta": ["ok", "skipped", "interrupted", "not reached", "not reached"],
        "planned": ["not reached"] * 5,
    }
    assert not report.complete
    assert report.exit_code == 1


def test_a_phase_that_was_not_asked_for_is_skipped_not_missed() -> None:
    begun = [events.PhaseStart(1.0, phase, ("alpha", "beta")) for phase in PHASES]
    start, serve, *rest, end = recorded("consent")
    report = fold([start, *begun[:3], serve, *rest, begun[4], end])
    assert report.exit_code == 2
    assert outcomes(report)["beta"] == ["skipped", "skipped", "skipped", "ok", "skipped"]
    assert outcomes(report)["alpha"] == ["skipped", "skipped", "skipped", "failed", "not reached"]


def test_a_host_that_the_run_left_aside_is_not_done() -> None:
    report = fold(recorded("converged"), hosts=("alpha", "beta", "planned"), phases=PHASES)
    assert report.missed == ("planned",)
    assert report.exit_code == 1


def test_a_phase_that_never_began_in_a_whole_run_is_not_done() -> None:
    report = fold(recorded("converged"), phases=(*PHASES, "Later"))
    assert outcomes(report)["alpha"][-1] == "not reached"
    assert report.missed == ("alpha", "beta")


def test_a_report_without_any_event_is_a_failure() -> None:
    report = fold([], hosts=("alpha",), phases=PHASES)
    assert (report.exit_code, report.seconds, report.complete) == (1, 0.0, False)


@pytest.mark.parametrize(
    ("case", "code"),
    [("converged", 0), ("consent", 2), ("unhealthy", 1), ("rescued", 1), ("one_down", 1), ("cut_short", 1)],
)
def test_exit_codes(case: str, code: int) -> None:
    assert fold(recorded(case)).exit_code == code


def test_a_missing_consent_beside_a_real_failure_is_a_failure() -> None:
    both = [*recorded("consent")[:-1], *recorded("rescued")]
    assert fold(both).exit_code == 1


def test_a_rung_that_failed_is_unhealthy_even_when_no_task_failed() -> None:
    rung = Rung("token", r.FAILED, service="vllm")
    told = Payload(rungs=(rung,))
    result = events.Result(1.0, "alpha", "Verify", "Climb", r.OK, provision=told)
    assert fold([result, events.RunEnd(2.0, {"alpha": events.Counts(ok=1)})]).exit_code == 1


def test_consent_names_the_host_and_the_work() -> None:
    assert fold(recorded("consent")).consent == ("alpha: restart vllm.service: VLLM_LOGGING_LEVEL changed",)


def test_a_later_phase_shows_that_a_failure_was_rescued_before_the_end_says_so() -> None:
    known = recorded("rescued")
    at = next(
        index
        for index, event in enumerate(known)
        if isinstance(event, events.TaskStart) and event.phase == "Serve"
    )
    folding = Fold()
    for event in known[:at]:
        folding.add(event)
    assert folding.trouble("alpha") is not None
    folding.add(known[at])
    assert folding.trouble("alpha") is None
    assert folding.cell("alpha", "Host").outcome == r.CHANGED


def test_an_ignored_failure_of_an_item_is_no_failure() -> None:
    told = [
        events.Result(1.0, "alpha", "Host", "Loop", r.FAILED, item="one", ignored=True),
        events.Result(2.0, "alpha", "Host", "Loop", r.FAILED, ignored=True),
        events.RunEnd(3.0, {"alpha": events.Counts(ok=1, ignored=1)}),
    ]
    assert fold(told).exit_code == 0


def test_the_items_of_a_loop_that_failed_stand_for_it() -> None:
    told = [
        events.Result(1.0, "alpha", "Host", "Loop", r.FAILED, item="one", msg="no one"),
        events.Result(2.0, "alpha", "Host", "Loop", r.FAILED, item="two", msg="no two"),
        events.Result(3.0, "alpha", "Host", "Loop", r.FAILED, msg="One or more items failed"),
    ]
    assert [(failure.item, failure.message) for failure in fold(told).failures] == [
        ("one", "no one"),
        ("two", "no two"),
    ]


def test_live_states_before_the_end() -> None:
    folding = Fold(("alpha", "beta"), ("Host", "Verify"))
    folding.add(events.PhaseStart(1.0, "Host", ("alpha", "beta")))
    folding.add(events.TaskStart(2.0, "alpha", "Host", "Install"))
    states = [folding.cell(host, phase).outcome for host in folding.hosts for phase in folding.phases]
    assert states == [RUNNING, WAITING, WAITING, WAITING]
    folding.add(events.Progress(3.0, "alpha", "Host", "Install", 1, 9))
    now = folding.now("alpha")
    assert now is not None
    assert (now.task, now.since, now.attempt, now.attempts) == ("Install", 2.0, 1, 9)


def test_a_host_that_the_inventory_leaves_out_is_no_failure() -> None:
    report = fold(recorded("left_out"), hosts=["alpha"], phases=PHASES)
    assert outcomes(report) == {"alpha": ["skipped"] * 5}
    assert [host.skipped for host in report.skipped] == [
        "no archive of this engine can be had: its release server does not answer"
    ]
    assert (report.missed, report.failures, report.exit_code) == ((), (), 0)


def test_a_host_that_is_left_out_is_so_in_phases_that_never_came() -> None:
    told = [event for event in recorded("left_out") if not isinstance(event, events.PhaseStart)]
    report = fold(told, hosts=["alpha"], phases=PHASES)
    assert outcomes(report) == {"alpha": ["skipped"] * 5}
    assert report.missed == ()
