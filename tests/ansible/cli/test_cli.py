# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from provisioner.runs import rundir
from tests.cli_calls import call


def test_apply_reaches_for_the_host_and_reports_it_unreachable(
    good: Path, connections: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("apply", good, "--yes", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["hosts"][0]["name"] == "gpu1"
    assert "192.0.2.1" in connections.read_text()


@pytest.mark.usefixtures("connections")
def test_a_run_is_kept_with_the_inventory_by_its_whole_path(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(good.parent)
    call("apply", good.name, "--yes")
    (kept,) = rundir.runs()
    assert json.loads(kept.plan.read_text())["inventory"] == str(good)


def test_output_that_does_not_fit_is_no_bug(good: Path) -> None:
    with Path("/dev/full").open("w") as full:
        argv = [sys.executable, "-m", "provisioner", "plan", str(good)]
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the command failed on this machine: No space left on device")
