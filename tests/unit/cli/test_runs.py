# SPDX-License-Identifier: Apache-2.0
"""The command `runs` and what it makes of runs that left no report."""

from __future__ import annotations

import json

import pytest

from provisioner.runs import rundir
from provisioner.runs.fold import Fold
from provisioner.runs.rundir import RunDir
from tests.cli_calls import call


def begun(report: str | None = None) -> RunDir:
    made = rundir.create()
    text = Fold(("gpu1",), ("Host",)).report(run=made.id).to_json() if report is None else report
    if text:
        rundir.write(made.report, text)
    return made


@pytest.mark.parametrize("newer", [("",), ("", ""), ("{damaged",), ("", "{}")])
def test_the_latest_run_is_the_last_with_a_report(
    newer: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    begun()
    shown = begun()
    under_way = [begun(text) for text in newer]
    assert call("runs", "show", "latest", "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["run"] == shown.id
    assert f"run {under_way[-1].id} has no report" in said.err
    assert call("runs", "show", under_way[-1].id) == 2


def test_the_latest_run_of_all_needs_no_remark(capsys: pytest.CaptureFixture[str]) -> None:
    shown = begun()
    assert call("runs", "show", "--json") == 0
    said = capsys.readouterr()
    assert (json.loads(said.out)["run"], said.err) == (shown.id, "")


def test_where_no_run_has_a_report_the_newest_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    begun("")
    newest = begun("")
    assert call("runs", "show") == 2
    assert f"run {newest.id} has no readable report" in capsys.readouterr().err
