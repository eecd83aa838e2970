# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
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


PHASES = """
- {name: Preflight, ansible.builtin.import_playbook: one.yml, tags: [preflight, always]}
- {name: Host, ansible.builtin.import_playbook: one.yml, tags: [host]}
- {name: Serve, ansible.builtin.import_playbook: one.yml, tags: [serve]}
"""


@pytest.mark.parametrize(("phases", "tasks"), [((), 3), (("host", "preflight"), 2)])
def test_only_the_chosen_phases_run_whatever_the_users_settings_say(
    tmp_path: Path,
    request_for: Request,
    monkeypatch: pytest.MonkeyPatch,
    phases: tuple[str, ...],
    tasks: int,
) -> None:
    write(tmp_path, "true")
    (tmp_path / "site.yml").write_text(PHASES)
    (tmp_path / "ansible.cfg").write_text("[tags]\nrun = serve\nskip = host\n")
    monkeypatch.setenv("ANSIBLE_CONFIG", str(tmp_path / "ansible.cfg"))
    events: list[Event] = []
    request = dataclasses.replace(request_for, playbook="site", phases=phases)
    assert run.execute(request, rundir.create(), events.append).returncode == 0
    assert len([event for event in events if isinstance(event, TaskStart)]) == tasks
