# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from provisioner.ansible import polling
from provisioner.ansible.polling import GOES_ON, PollingAction, joined

TASK_VARS = {"inventory_hostname": "alpha", "ansible_play_name": "Models"}
TOLD = {"label": "weights", "done_bytes": 5e9, "total_bytes": 10e9}
WORKING = {"changed": False, "finished": False, "provision": {"progress": TOLD}}
DONE = {"changed": False, "finished": True}


class Clock:
    """Pass time only where somebody sleeps or a call takes some."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Scripted(PollingAction):
    """Get its answers from a list instead of a host; each call takes `lasts` seconds."""

    def __init__(self, clock: Clock, answers: list[Any], lasts: float = 0.0, **arguments: Any) -> None:
        task = SimpleNamespace(action="work", args=arguments, no_log=False, async_val=0, check_mode=False)
        task.name = "Fetch {{ model }}"
        task.get_ds = lambda: {"name": task.name}
        self._task, self._connection = task, None
        self._clock, self._answers, self._lasts = clock, answers, lasts
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def _execute_module(self, module_name: str, module_args: dict[str, Any], task_vars: Any) -> Any:
        assert task_vars is TASK_VARS
        self.calls.append((module_name, dict(module_args)))
        module_args["_ansible_check_mode"] = False  # Ansible adds its own to what it is given
        self._clock.now += self._lasts
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(polling, "time", clock)
    monkeypatch.setattr(ActionBase, "run", lambda *_: {})
    return clock


@pytest.fixture(autouse=True)
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    shown: list[str] = []
    monkeypatch.delenv("PROVISION_EVENTS", raising=False)
    monkeypatch.setattr(polling, "Display", lambda: SimpleNamespace(display=shown.append))
    return shown


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    monkeypatch.setenv("PROVISION_EVENTS", str(path))
    return path


def test_what_has_finished_is_called_once_and_returned_as_it_is(clock: Clock) -> None:
    answer = {**DONE, "changed": True, "directory": "/srv"}
    action = Scripted(clock, [answer], model="llama", timeout=60)
    assert action.run(None, TASK_VARS) == answer
    assert action.calls == [("work", {"model": "llama", "timeout": 60})]
    assert clock.slept == []


def test_an_answer_without_the_key_has_finished(clock: Clock) -> None:
    assert Scripted(clock, [{"changed": False}]).run(None, TASK_VARS) == {"changed": False}


def test_every_call_gets_the_arguments_of_the_task_alone(clock: Clock) -> None:
    action = Scripted(clock, [WORKING, WORKING, DONE], model="llama")
    action.run(None, TASK_VARS)
    assert action.calls == [("work", {"model": "llama"})] * 3
    assert action._task.args == {"model": "llama"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [((False, False), False), ((True, False), True), ((False, True), True)],
)
def test_a_change_of_any_call_is_a_change(clock: Clock, changes: tuple[bool, bool], expected: bool) -> None:
    answers = [dict(WORKING, changed=changes[0]), WORKING, dict(DONE, changed=changes[1])]
    assert Scripted(clock, answers).run(None, TASK_VARS)["changed"] is expected


@pytest.mark.parametrize("end", [{"failed": True, "msg": "no disk", "finished": False}, {"skipped": True}])
def test_a_failure_ends_it_and_keeps_its_words(clock: Clock, end: dict[str, Any]) -> None:
    action = Scripted(clock, [dict(WORKING, changed=True), {**end, "provision": {"next": "free some"}}])
    result = action.run(None, TASK_VARS)
    assert result == {**end, "changed": True, "provision": {"next": "free some"}}
    assert len(action.calls) == 2


def test_a_crash_of_the_module_is_a_failure(clock: Clock) -> None:
    crash = {"failed": True, "module_stderr": "Traceback", "msg": "MODULE FAILURE"}
    assert Scripted(clock, [crash]).run(None, TASK_VARS) == crash


def test_a_lost_connection_ends_the_task_and_not_the_job(clock: Clock) -> None:
    action = Scripted(clock, [WORKING, AnsibleConnectionFailure("timed out"), DONE])
    with pytest.raises(AnsibleConnectionFailure):  # Ansible makes an unreachable host of it
        action.run(None, TASK_VARS)
    assert len(action.calls) == 2


@pytest.mark.parametrize(("lasts", "slept"), [(0.25, [0.75]), (10.0, [0.0])])
def test_it_waits_only_where_the_module_has_not(clock: Clock, lasts: float, slept: list[float]) -> None:
    Scripted(clock, [WORKING, DONE], lasts).run(None, TASK_VARS)
    assert clock.slept == slept


@pytest.mark.parametrize("given", [{"timeout": 30}, {"timeout": "30"}, {}])
def test_it_ends_when_the_time_is_over_and_says_that_the_work_goes_on(
    clock: Clock, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "TIMEOUT_SECONDS", 30)
    action = Scripted(clock, [dict(WORKING, changed=True)] * 9, 10.0, **given)
    result = action.run(None, TASK_VARS)
    assert (len(action.calls), result["failed"], result["changed"]) == (3, True, True)
    assert result["msg"] == "not finished after 30 s; last progress: weights 50% of 10.00 GB"
    assert result["provision"]["next"] == GOES_ON


def test_the_end_of_the_time_spoils_no_answer(clock: Clock) -> None:
    assert Scripted(clock, [WORKING, WORKING, DONE], 10.0, timeout=30).run(None, TASK_VARS) == DONE


def test_progress_is_an_event_of_the_run(events: Path, clock: Clock) -> None:
    secret = {**TOLD, "token": "canary"}
    Scripted(clock, [dict(WORKING, provision={"progress": secret, "more": "canary"}), DONE]).run(
        None, TASK_VARS
    )
    (line,) = [json.loads(line) for line in events.read_text().splitlines()]
    assert {key: line[key] for key in line if key != "t"} == {
        "v": 1,
        "event": "progress",
        "host": "alpha",
        "phase": "Models",
        "task": "Fetch",
        "attempt": 1,
        "provision": {"progress": TOLD},
    }


def test_a_task_with_secrets_reports_only_that_it_goes_on(
    events: Path, clock: Clock, shown: list[str]
) -> None:
    action = Scripted(clock, [WORKING, DONE])
    action._task.no_log = True
    action.run(None, TASK_VARS)
    assert "weights" not in events.read_text()
    assert shown == ["working: [alpha]"]


def test_the_screen_shows_what_is_new(clock: Clock, shown: list[str]) -> None:
    more = {"provision": {"progress": {"label": "tuning"}}, "finished": False}
    Scripted(clock, [WORKING, WORKING, more, DONE]).run(None, TASK_VARS)
    assert shown == ["working: [alpha] weights 50% of 10.00 GB", "working: [alpha] tuning"]


@pytest.mark.parametrize(
    ("earlier", "later", "expected"),
    [
        ({"diff": {"before": "", "after": "a\nb\n"}}, {"diff": {"before": "", "after": "b\n"}}, "first"),
        ({"diff": {"before": "", "after": "a\n"}}, {}, "first"),
        ({}, {"diff": {"before": "", "after": "a\n"}}, "second"),
        ({"diff": []}, {"diff": [{"after": "a\n"}]}, "second"),
        ({"diff": [{"after": "a\n"}]}, {"diff": [{"after": "a\n"}]}, "first"),
    ],
)
def test_the_difference_is_the_one_of_before_the_work(
    earlier: dict[str, Any], later: dict[str, Any], expected: str
) -> None:
    assert joined(earlier, later)["diff"] == (earlier if expected == "first" else later)["diff"]


def test_steps_of_several_calls_are_all_shown_and_warnings_said_once() -> None:
    earlier = {"diff": [{"after": "a\n"}], "warnings": ["old kernel"]}
    later = {"diff": [{"after": "b\n"}], "warnings": ["old kernel", "slow disk"]}
    found = joined(earlier, later)
    assert found["diff"] == [{"after": "a\n"}, {"after": "b\n"}]
    assert found["warnings"] == ["old kernel", "slow disk"]
