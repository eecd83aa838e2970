# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from provisioner.ansible.module_utils.provision.host.payload import Answer, Payload, Rung, Transfer
from provisioner.runs import events

PLACE = {"v": 1, "t": 2.5, "host": "alpha", "phase": "Models", "task": "Fetch"}


def line(**fields: object) -> str:
    return json.dumps(fields)


def test_a_full_result_is_read_with_all_its_parts() -> None:
    told = {
        "progress": {"label": "weights", "done_bytes": 5, "total_bytes": 10, "rate_bytes_s": 2},
        "rungs": [{"service": None, "rung": "gpus", "status": "not applicable", "evidence": "no GPU"}],
        "consent": ["restart it"],
        "next": "do this",
        "answer": {"service": "vllm", "question": "q", "text": "Paris", "ttft_s": 1, "tokens": 3},
        "warning": ["hm"],
    }
    raw = {
        **PLACE,
        "status": "failed",
        "msg": "no",
        "ignored": True,
        "item": "",
        "duration_s": 3,
        "diff": "+a",
    }
    event = events.parse(line(**raw, event="result", role="x", path="/p:1", provision=told))
    assert event == events.Result(
        t=2.5,
        host="alpha",
        phase="Models",
        task="Fetch",
        status="failed",
        role="x",
        path="/p:1",
        ignored=True,
        msg="no",
        duration_s=3.0,
        item="",
        diff="+a",
        provision=Payload(
            progress=Transfer("weights", 5.0, 10.0, 2.0),
            rungs=(Rung("gpus", "not applicable", "no GPU"),),
            consent=("restart it",),
            next="do this",
            answer=Answer("vllm", "q", "Paris", 1.0, 3),
            warning=("hm",),
        ),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (line(v=1, t=1, event="run_start", playbook="site.yml"), events.RunStart(1.0, "site.yml")),
        (
            line(v=1, t=1, event="phase_start", phase="Host", hosts=["a"]),
            events.PhaseStart(1.0, "Host", ("a",)),
        ),
        (line(**PLACE, event="task_start"), events.TaskStart(2.5, "alpha", "Models", "Fetch")),
        (line(**PLACE, event="progress", attempt=2), events.Progress(2.5, "alpha", "Models", "Fetch", 2)),
        (
            line(v=1, t=1, event="run_end", stats={"a": {"ok": 2, "dark": 9}}),
            events.RunEnd(1.0, {"a": events.Counts(ok=2)}),
        ),
    ],
)
def test_each_kind_of_line_has_its_event(text: str, expected: events.Event) -> None:
    assert events.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"v": 1, "t": 1, "event": "resu',
        "[]",
        "null",
        line(v=2, t=1, event="run_start"),
        line(v=1, t=1, event="from_the_future"),
        line(v=1, event="run_start"),
        line(v=1, t="soon", event="run_start"),
        line(**PLACE, event="result"),
        b"\xff\xfe",
    ],
)
def test_torn_and_unknown_lines_are_forgiven(text: str | bytes) -> None:
    assert events.parse(text) is None


def test_a_wrong_part_of_a_payload_does_not_lose_the_result() -> None:
    told = {"progress": {"done_bytes": "many"}, "rungs": ["x", {"rung": "api"}], "answer": 3, "consent": "a"}
    event = events.parse(line(**PLACE, event="result", status="ok", provision=told))
    assert isinstance(event, events.Result)
    assert event.provision == Payload(progress=Transfer(), consent=("a",))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "true", '"nan"', "[1]"])
def test_what_is_no_number_is_unknown(number: str) -> None:
    text = (
        line(**PLACE, event="progress")[:-1]
        + f', "provision": {{"progress": {{"rate_bytes_s": {number}}}}}}}'
    )
    event = events.parse(text)
    assert isinstance(event, events.Progress)
    assert event.provision.progress == Transfer()


def steps(*actions: Callable[[], object]) -> Callable[[], bool]:
    """Do the next thing each time the reader asks whether the writer is done; say yes after the last."""
    waiting = list(actions)

    def done() -> bool:
        if waiting:
            waiting.pop(0)()
            return False
        return True

    return done


def test_follow_waits_for_the_file_and_puts_torn_lines_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "POLL_S", 0)
    path = tmp_path / "events.jsonl"
    first, second = line(v=1, t=1, event="run_start"), line(v=1, t=2, event="phase_start", phase="Hôst")
    whole = f"{first}\n{second}\n".encode()
    cut = whole.index(b"phase_start") + 3

    def add(data: bytes) -> Callable[[], object]:
        def append() -> None:
            with path.open("ab") as file:
                file.write(data)

        return append

    done = steps(lambda: None, add(whole[:cut]), lambda: None, add(whole[cut:]))
    assert list(events.follow(path, done)) == [events.RunStart(1.0), events.PhaseStart(2.0, "Hôst")]


def test_follow_takes_what_was_written_just_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"

    def done() -> bool:
        path.write_text(line(v=1, t=1, event="run_start"))  # without its line end
        return True

    assert list(events.follow(path, done)) == [events.RunStart(1.0)]


def test_read_of_a_file_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert list(events.read(tmp_path / "none.jsonl")) == []


def test_what_leaves_ansible_is_what_is_declared_and_nothing_else() -> None:
    declared: dict[str, Any] = {
        "progress": {"label": "weights", "done_bytes": 5, "total_bytes": None, "rate_bytes_s": 2.5},
        "rungs": [asdict(Rung("token", "passed", "3 tokens", "vllm"))],
        "answer": asdict(Answer("vllm", "q", "Paris")),
        "consent": ["restart it"],
        "next": "do this",
        "driver": {"installed": "580", "loaded": "580"},
    }
    secret = {
        "canary": "x",
        "rungs": [{**declared["rungs"][0], "canary": "x"}, "canary"],
        "consent": "canary",
    }
    assert events.payload(declared) == declared
    assert events.payload({**declared, "canary": "x"}) == declared
    assert events.payload(secret) == {"rungs": [*declared["rungs"], {}], "consent": []}
    assert events.payload("canary") == {}


def test_a_field_that_no_event_declares_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    monkeypatch.setenv(events.VARIABLE, str(path))
    with pytest.raises(TypeError, match="the event run_start does not declare colour"):
        events.EventFile().write("run_start", playbook="site.yml", colour="red")
    assert not path.exists()
    events.EventFile().write("run_start", playbook="site.yml")
    assert [event.playbook for event in events.read(path) if isinstance(event, events.RunStart)] == [
        "site.yml"
    ]
