# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from provisioner.runs import events
from provisioner.runs.fold import fold
from provisioner.runs.junit import to_junit

DATA = Path(__file__).resolve().parents[2] / "data" / "events"


def suites(case: str, *hosts: str) -> dict[str, ET.Element]:
    report = fold(events.read(DATA / f"{case}.jsonl"), hosts=hosts)
    top = ET.fromstring(to_junit(report))  # noqa: S314  our own document
    return {suite.get("name", ""): suite for suite in top}


def test_rungs_become_cases_of_their_host() -> None:
    suite = suites("unhealthy")["alpha"]
    assert [(case.get("classname"), case.get("name"), case[0].tag) for case in suite] == [
        ("alpha", "gpus", "skipped"),
        ("alpha.vllm", "unit", "system-out"),
        ("alpha.vllm", "api", "system-out"),
        ("alpha.vllm", "token", "failure"),
    ]
    assert [suite.get(name) for name in ("tests", "failures", "skipped", "errors")] == ["4", "1", "1", "0"]


def test_a_failure_carries_its_evidence_and_the_next_step() -> None:
    failure = suites("unhealthy")["alpha"].find(".//failure")
    assert failure is not None
    assert failure.get("message") == "answers 200 on /health but 500 on a completion"
    assert "next: see journalctl" in str(failure.text)


def test_what_does_not_apply_is_skipped_with_its_reason() -> None:
    skipped = suites("unhealthy")["beta"].find(".//skipped")
    assert skipped is not None
    assert skipped.get("message") == "not applicable: no GPU on this host"


def test_a_host_that_never_came_to_its_rungs_fails() -> None:
    found = suites("one_down", "alpha", "beta", "gamma", "planned")
    for host, reason in (("gamma", "did not answer in time"), ("planned", "not verified")):
        failure = found[host].find("testcase/failure")
        assert failure is not None
        assert reason in str(failure.get("message"))


def test_text_of_a_hostile_host_stays_well_formed() -> None:
    assert suites("hostile")["alpha"].get("failures") == "1"


def test_a_host_that_is_left_out_is_skipped_with_its_reason() -> None:
    suite = suites("left_out")["alpha"]
    skipped = suite.find(".//skipped")
    assert skipped is not None
    assert (
        skipped.get("message") == "no archive of this engine can be had: its release server does not answer"
    )
    assert [suite.get(name) for name in ("tests", "failures", "skipped")] == ["1", "0", "1"]
