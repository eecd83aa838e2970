# SPDX-License-Identifier: Apache-2.0
"""What keeps the locks of hosts ends with Ansible, even if it is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from provisioner.ansible import lifeline

MAIN = """
import os, sys, time
from provisioner.ansible import lifeline
lifeline.open_for_this_process()
if not os.fork():
    # A worker, which ends with its task.
    assert lifeline.start(["sh", "-c", "cat; touch " + sys.argv[1]])
    print(os.environ["PROVISION_RUN"], flush=True)
    os._exit(0)
os.wait()
time.sleep(60)
"""


def test_a_killed_ansible_ends_what_its_workers_started(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    environment = {**os.environ, "PROVISION_EVENTS": "/somewhere/runs/20261129-1/events.jsonl"}
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, str(ended)], stdout=subprocess.PIPE, text=True, env=environment
    ) as main:
        assert main.stdout
        assert main.stdout.readline() == "20261129-1\n"
        time.sleep(0.2)
        assert not ended.exists()
        main.kill()
    deadline = time.monotonic() + 10
    while not ended.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert ended.exists()


def test_without_the_pipe_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(lifeline.VARIABLE, raising=False)
    assert not lifeline.start(["false"])
    # As of an Ansible above this one; no process, not even the first of a container, has this number.
    monkeypatch.setenv(lifeline.VARIABLE, "-1 0")
    assert not lifeline.start(["false"])
