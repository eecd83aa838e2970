# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.errors import BusyError
from provisioner.runs import locks

# Holds the lock like a run does, starts a child that inherits it, says so, then waits to be killed.
HOLDER = """
import subprocess, sys, time
from provisioner.runs import locks
with locks.hold(sys.argv[1], "run-1") as lock:
    child = subprocess.Popen(["sleep", "600"], start_new_session=True, pass_fds=(lock.descriptor,))
    lock.write(child.pid)
    print(child.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", HOLDER, str(tmp_path / "lab.ini")]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    yield process
    process.kill()
    process.wait()
    assert process.stdout
    process.stdout.close()


def test_a_second_run_is_refused_and_names_the_first(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    assert holder.stdout
    child = int(holder.stdout.readline())
    with (
        pytest.raises(BusyError, match=rf"in use by run run-1 \(process {holder.pid}\)"),
        locks.hold(str(tmp_path / "lab.ini"), "run-2"),
    ):
        pass
    os.kill(child, 9)


def test_what_a_killed_run_left_is_stopped_and_the_lock_taken(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    assert holder.stdout
    child = int(holder.stdout.readline())
    holder.kill()
    holder.wait()
    with locks.hold(str(tmp_path / "lab.ini"), "run-2"):
        assert not _runs(child)


def test_other_inventories_are_free(tmp_path: Path) -> None:
    with locks.hold(str(tmp_path / "a.ini"), "run-1"), locks.hold(str(tmp_path / "b.ini"), "run-2"):
        pass


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] not in "ZX"
    except FileNotFoundError:
        return False
