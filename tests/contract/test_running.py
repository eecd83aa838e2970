# SPDX-License-Identifier: Apache-2.0
"""What a run of the tests leaves out, and what it says at its end."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import time
import pytest

@pytest.fixture(scope="module")
def lab():
    time.sleep(0.2)

@pytest.mark.parametrize("platform", ["one", pytest.param("another", marks=pytest.mark.exhaustive)])
def test_it(lab, platform):
    assert platform
"""


def run(checkout: Path, folder: Path, *options: str) -> list[str]:
    """Run the tests of a folder with this project's plugins, and return what pytest says."""
    (folder / "test_sample.py").write_text(TESTS)
    settings = "[pytest]\nmarkers = exhaustive\naddopts = -p tests.exhaustive -p tests.slowest\n"
    (folder / "pytest.ini").write_text(f"{settings}pythonpath = {checkout}\n")
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def _always(monkeypatch: pytest.MonkeyPatch, checkout: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(checkout))
    monkeypatch.setenv("PYTEST_SLOWEST_FROM", "0")


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize("processes", ["0", "2"])
def test_long_matrices_are_left_out_and_the_run_says_so(
    checkout: Path, tmp_path: Path, processes: str
) -> None:
    said = run(checkout, tmp_path, f"--numprocesses={processes}")
    assert "tests left out of long matrices: 1 (--exhaustive runs them)" in said
    assert re.search(r"^=+ 1 passed(, 1 deselected)? in ", said[-1])
    (part,) = [line for line in said if line.endswith("test_it[one])")]
    assert re.fullmatch(r" +\d\.\d s  test_sample.py \(setup 0 s, slowest 0 s: test_it\[one\]\)", part)


@pytest.mark.usefixtures("_always")
def test_an_exhaustive_run_has_them_all(checkout: Path, tmp_path: Path) -> None:
    said = run(checkout, tmp_path, "--exhaustive")
    assert re.search(r"^=+ 2 passed in ", said[-1])
    assert not [line for line in said if "left out" in line]
