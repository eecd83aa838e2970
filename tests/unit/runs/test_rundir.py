# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import stat
from pathlib import Path

import pytest

from provisioner.errors import UsageError
from provisioner.runs import rundir


def made(name: str, *, report: bool = True) -> Path:
    path = rundir.root() / name
    path.mkdir(parents=True)
    if report:
        (path / "report.json").touch()
    return path


def test_a_new_run_is_for_its_owner_only() -> None:
    run = rundir.create()
    for path in (run.path, run.path.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert run.path.parent == rundir.root()
    assert [path.name for path in (run.plan, run.events, run.log, run.report)] == [
        "plan.json",
        "events.jsonl",
        "ansible.log",
        "report.json",
    ]


def test_names_sort_by_time() -> None:
    first, second = rundir.create(), rundir.create()
    assert rundir.runs()[-1].id == min(first.id, second.id)
    assert first.started <= second.started


def test_a_relative_state_folder_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert rundir.root() == tmp_path / ".local" / "state" / "provision" / "runs"


def test_runs_are_found_by_a_part_of_their_name_and_as_the_latest() -> None:
    old, new = made("20260101-000000000-aaaa"), made("20260102-000000000-bbbb")
    made("not-a-run")
    (rundir.root() / "20260103-000000000-cccc").symlink_to(old)
    assert [run.path for run in rundir.runs()] == [new, old]
    assert rundir.find().path == new
    assert rundir.find("20260101").path == old
    assert rundir.find("aaaa").path == old


@pytest.mark.parametrize("name", ["2027", "2026", "../x"])
def test_an_unknown_or_ambiguous_name_is_a_usage_error(name: str) -> None:
    made("20260101-000000000-aaaa")
    made("20260102-000000000-bbbb")
    with pytest.raises(UsageError, match="that contains"):
        rundir.find(name)


def test_no_run_at_all_says_what_to_do() -> None:
    with pytest.raises(UsageError) as caught:
        rundir.find()
    assert caught.value.next_step == "run provision apply first"


def test_writing_replaces_the_file_whole_and_privately(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    rundir.write(path, "nëw")
    assert path.read_text(encoding="utf-8") == "nëw"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.glob(".report*")) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        rundir.write(path, "\ud800")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.glob(".*")] == []


def test_runs_sort_in_the_order_in_which_they_began() -> None:
    begun = [rundir.create() for _ in range(20)]
    assert list(rundir.runs()) == begun[::-1]
