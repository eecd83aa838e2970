# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

from provisioner import content
from provisioner.errors import Interrupted
from provisioner.runs import run, rundir
from provisioner.runs.events import Event, TaskStart
from provisioner.runs.run import Request

PLAYBOOK = """\
- name: Preflight
  hosts: all
  connection: local
  gather_facts: false
  tasks:
    - name: Work
      ansible.builtin.command:
        argv: [sh, -c, "{command}"]
      changed_when: true
"""


@pytest.fixture
def request_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    """Return a request for a playbook with one task, which the test writes."""
    monkeypatch.setattr(content, "playbook", lambda name: tmp_path / f"{name}.yml")
    (tmp_path / "hosts.ini").write_text(
        "localhost ansible_python_interpreter='{{ ansible_playbook_python }}'\n"
    )
    return Request(playbook="one", inventory=str(tmp_path / "hosts.ini"))


def write(folder: Path, command: str) -> None:
    (folder / "one.yml").write_text(PLAYBOOK.format(command=command))


def test_events_arrive_and_the_log_is_kept(tmp_path: Path, request_for: Request) -> None:
    write(tmp_path, "true")
    events: list[Event] = []
    run_dir = rundir.create()
    outcome = run.execute(request_for, run_dir, events.append)
    assert {stat.S_IMODE(file.stat().st_mode) for file in (run_dir.events, run_dir.log)} == {0o600}
    assert outcome == run.Outcome(returncode=0, interrupted=False)
    assert [event.task for event in events if isinstance(event, TaskStart)] == ["Work"]
    assert "PLAY [Preflight]" in run_dir.log.read_text()


def test_ctrl_c_ends_ansible_and_says_what_to_do(tmp_path: Path, request_for: Request) -> None:
    write(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 600")

    def interrupt(event: Event) -> None:
        if isinstance(event, TaskStart):
            os.kill(os.getpid(), signal.SIGINT)

    outcome = run.execute(request_for, rundir.create(), interrupt)
    assert outcome.interrupted
    with pytest.raises(Interrupted, match="continues there"):
        run.raise_if_interrupted(outcome)


def test_the_handlers_of_the_caller_come_back(tmp_path: Path, request_for: Request) -> None:
    before = signal.getsignal(signal.SIGINT)
    write(tmp_path, "true")
    run.execute(request_for, rundir.create(), lambda _: None)
    assert signal.getsignal(signal.SIGINT) is before
