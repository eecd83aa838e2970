# SPDX-License-Identifier: Apache-2.0
"""Let real Ansible run a small playbook on this machine and look at what the callback writes."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from provisioner.content import plugins
from provisioner.runs import events
from provisioner.runs.fold import fold

DATA = Path(__file__).resolve().parents[1] / "data" / "callback"
Lines = list[dict[str, Any]]


def play(tmp: Path, *options: str, events_file: Path | None = None) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp),
        "LANG": "C.UTF-8",
        "ANSIBLE_CALLBACK_PLUGINS": str(plugins("callbacks")),
        "ANSIBLE_LIBRARY": str(DATA / "library"),
        "ANSIBLE_ACTION_PLUGINS": str(DATA / "action"),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    if events_file:
        environment["PROVISION_EVENTS"] = str(events_file)
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "good,bad,", "-c", "local", *options]
    done = subprocess.run(
        [*command, str(DATA / "site.yml")],
        env=environment,
        cwd=tmp,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 2), done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("callback")
    path = folder / "events.jsonl"
    return path, play(folder, "--diff", "-vvv", events_file=path)


@pytest.fixture(scope="module")
def written(run: tuple[Path, str]) -> Path:
    return run[0]


@pytest.fixture(scope="module")
def shown(run: tuple[Path, str]) -> str:
    return run[1]


@pytest.fixture(scope="module")
def lines(written: Path) -> Lines:
    return [json.loads(line) for line in written.read_text().splitlines()]


def results(lines: Lines, task: str, host: str = "good") -> Lines:
    return [
        line for line in lines if line["event"] == "result" and line["task"] == task and line["host"] == host
    ]


def only(lines: Lines, task: str, host: str = "good") -> dict[str, Any]:
    (found,) = results(lines, task, host)
    return found


def test_no_canary_is_written_at_any_verbosity(written: Path) -> None:
    assert "canary" not in written.read_text()


def test_the_file_is_for_its_owner_only(written: Path) -> None:
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


def test_every_line_is_an_event(written: Path, lines: Lines) -> None:
    assert len(list(events.read(written))) == len(lines)
    assert [lines[0]["event"], lines[-1]["event"]] == ["run_start", "run_end"]


def test_the_name_of_a_play_is_the_phase(lines: Lines) -> None:
    phases = [(line["phase"], line["hosts"]) for line in lines if line["event"] == "phase_start"]
    assert phases == [(name, ["good", "bad"]) for name in ("Preflight", "Models", "Verify")]


def test_a_result_tells_where_its_task_stands(lines: Lines) -> None:
    found = only(lines, "Do nothing")
    text = (DATA / "site.yml").read_text().splitlines()
    path, number = found["path"].rsplit(":", 1)
    assert path == str(DATA / "site.yml")
    assert text[int(number) - 1].strip() == "- name: Do nothing"
    assert "msg" not in found  # what a success says stays inside


@pytest.mark.parametrize(
    ("task", "status"),
    [("Do nothing", "ok"), ("Skip this", "skipped"), ("Change without showing", "changed"), ("Rescue", "ok")],
)
def test_statuses(lines: Lines, task: str, status: str) -> None:
    assert only(lines, task)["status"] == status


def test_a_handler_is_a_task(lines: Lines) -> None:
    assert only(lines, "Handle a change")["status"] == "changed"


def test_a_diff_is_kept_where_it_is_allowed(lines: Lines) -> None:
    assert "-old\n+new\n" in only(lines, "Change something")["diff"]
    assert "\x1b" not in only(lines, "Change something")["diff"]
    assert "diff" not in only(lines, "Change without showing")


def test_a_diff_shows_the_mode_and_the_owner_that_a_task_sets(lines: Lines) -> None:
    assert "+++ after: /etc/x (mode 0640, owner root, group daemon)" in only(lines, "Change a file")["diff"]


def test_a_task_with_secrets_shows_its_status_alone(lines: Lines) -> None:
    common = {"v", "t", "event", "host", "phase", "task", "path", "status", "duration_s"}
    assert set(only(lines, "Change a secret")) == common
    assert set(only(lines, "Fail in secret and carry on")) == common | {"ignored"}


def test_an_ignored_failure_says_so(lines: Lines) -> None:
    found = only(lines, "Fail and carry on")
    assert (found["status"], found["ignored"], found["msg"]) == ("failed", True, "this was to be expected")


def progress(lines: Lines, task: str) -> Lines:
    mine = [line for line in lines if (line.get("host"), line.get("task")) == ("good", task)]
    return [line for line in mine if line["event"] == "progress"]


def test_a_retry_is_progress(lines: Lines) -> None:
    told = progress(lines, "Download the model")
    assert [line["attempts"] for line in told] == [6, 6]
    assert told[0]["attempt"] < told[1]["attempt"]  # where they begin differs between versions of Ansible
    transfer = {"label": "weights", "done_bytes": 5, "total_bytes": 10, "rate_bytes_s": 2.5}
    assert told[0]["provision"] == {"progress": transfer}


def test_long_work_is_one_task_with_progress(lines: Lines) -> None:
    told = progress(lines, "Do long work of")
    assert [(line["attempt"], line["phase"]) for line in told] == [(1, "Models"), (2, "Models")]
    assert told[1]["provision"] == {"progress": {"label": "work", "done_bytes": 2e9, "total_bytes": 3e9}}
    result = only(lines, "Do long work of")
    assert result["status"] == "changed"
    assert "+the work\n" in result["diff"]
    first, last = lines.index(told[0]), lines.index(told[1])
    begun = [line["event"] for line in lines].index("task_start")
    assert begun < first < last < lines.index(result)


def test_long_work_with_secrets_shows_only_that_it_goes_on(lines: Lines) -> None:
    (told,) = progress(lines, "Do long work in secret")
    assert set(told) == {"v", "t", "event", "host", "phase", "task", "attempt"}


def test_the_failure_of_long_work_is_passed_on(lines: Lines) -> None:
    result = only(lines, "Do long work that fails")
    assert (result["status"], result["msg"]) == ("failed", "the disk is full")
    assert result["provision"] == {"next": "mend it"}


def test_long_work_that_takes_too_long_goes_on_without_the_task(lines: Lines) -> None:
    result = only(lines, "Do longer work than there is time for")
    assert re.fullmatch(r"not finished after 1 s; last progress: work [12]\d% of 9\.00 GB", result["msg"])
    assert "follow it" in result["provision"]["next"]


def test_ansibles_own_screen_shows_progress_and_every_warning(shown: str) -> None:
    assert [line for line in shown.splitlines() if line.startswith("working: [good] work")][:2] == [
        "working: [good] work 33% of 3.00 GB",
        "working: [good] work 67% of 3.00 GB",
    ]
    assert "warned in call 1" in shown
    assert "warned in call 2" in shown


def test_a_loop_is_one_result_and_one_more_for_each_payload(lines: Lines) -> None:
    item, whole = results(lines, "Go through a loop")
    assert (item["item"], item["provision"]) == ("b", {"warning": ["a warning of b"]})
    assert (whole["status"], "item" in whole) == ("changed", False)
    assert "diff" not in item
    assert [text for text in whole["diff"].splitlines() if text.startswith("+new")] == ["+new b"]
    assert results(lines, "Go through secrets")[0]["item"] == "(item)"


def test_the_failed_items_of_a_loop_are_named(lines: Lines) -> None:
    failed = [line for line in results(lines, "Fail for two of three", "bad") if line["status"] == "failed"]
    assert [line.get("item") for line in failed] == ["one", "three", None]
    assert [line["msg"] for line in failed[:2]] == ["no one", "no three"]
    assert failed[0]["provision"] == {"next": "mend one"}


def test_the_report_of_the_run_is_right(written: Path) -> None:
    report = fold(events.read(written))
    assert [(failure.host, failure.item) for failure in report.failures] == [("bad", "one"), ("bad", "three")]
    outcomes = {host.name: [cell.outcome for cell in host.cells] for host in report.hosts}
    assert outcomes == {"good": ["changed", "changed", "ok"], "bad": ["changed", "changed", "failed"]}
    assert report.hosts[0].counts.rescued == 1
    assert (report.exit_code, report.check) == (1, False)
    assert {answer.host: answer.text for answer in report.answers} == {"good": "Paris.", "bad": "Paris."}


def test_check_mode_is_told_and_nothing_is_said_without_diff(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    play(tmp_path, "--check", "--limit=good", events_file=path)
    found = list(events.read(path))
    assert isinstance(found[0], events.RunStart)
    assert found[0].check
    assert not [event for event in found if isinstance(event, events.Result) and event.diff]
    work = [event.status for event in found if isinstance(event, events.Result) and "work of" in event.task]
    assert (work, list(tmp_path.glob("*.calls"))) == (["changed"], [])


def test_without_the_variable_it_is_not_there(tmp_path: Path) -> None:
    shown = play(tmp_path, "--limit=good", "--start-at-task=Ask the model")
    assert "PLAY RECAP" in shown
    assert "WARNING" not in shown
    # Packed modules are kept by another callback.
    assert sorted(path.name for path in tmp_path.iterdir()) == [".ansible", ".cache"]
