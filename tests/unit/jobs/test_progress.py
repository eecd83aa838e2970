# SPDX-License-Identifier: Apache-2.0
"""Whatever ends a job, its state file says how it ended."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.jobs import progress
from ansible.module_utils.provision.jobs.program import STOPPED, Program
from ansible.module_utils.provision.jobs.progress import Progress

ERRORS: list[tuple[BaseException, str, str]] = [
    (Fault("it broke", "mend it"), "it broke", "mend it"),
    (OSError(errno.ENOSPC, "No space left on device", "/x"), "/x: No space left on device", "free space"),
    (RuntimeError("odd"), "unexpected RuntimeError: odd", "report it"),
    (KeyboardInterrupt(), "it was stopped before it had finished", "the same command again"),
    (SystemExit(1), "it was stopped before it had finished", "the same command again"),
]
each_error = pytest.mark.parametrize(("error", "message", "step"), ERRORS, ids=lambda one: type(one).__name__)


@pytest.fixture(autouse=True)
def _invocation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOCATION_ID", "this-run")


def state_of(path: Path) -> dict[str, Any]:
    """Return what a reader sees."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@each_error
def test_any_exception_ends_as_failed(tmp_path: Path, error: BaseException, message: str, step: str) -> None:
    path = tmp_path / "job.json"
    with pytest.raises(type(error)), Progress(path, "work", {"order": "7"}):
        raise error
    state = state_of(path)
    assert step in state.pop("next")
    message = message if isinstance(error, Fault) else f"work: {message}"
    assert state == {"order": "7", "state": "failed", "message": message, "invocation": "this-run"}


def run(tmp_path: Path, job: Callable[[dict[str, Any]], None]) -> tuple[int, dict[str, Any]]:
    """Run a program's job, and return its exit status and its state file."""
    result, spec = tmp_path / "job.json", tmp_path / "job.spec.json"
    result.write_text('{"state": "running", "invocation": "an-earlier-run"}', encoding="utf-8")
    spec.write_text(json.dumps({"result": str(result)}), encoding="utf-8")
    code = Program("program", __name__, {"work": job}).main(["work", str(spec)])
    return code, state_of(result)


@each_error
def test_a_job_that_fails_before_it_writes_its_state_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: BaseException, message: str, step: str
) -> None:
    def job(_spec: dict[str, Any]) -> None:
        raise error

    code, state = run(tmp_path, job)
    assert code == (STOPPED if isinstance(error, SystemExit) else 1)
    assert (state["state"], state["message"], state["invocation"]) == ("failed", message, "this-run")
    said = capsys.readouterr().err
    assert f"error: {message}\nnext: " in said
    assert step in said
    assert ("Traceback" in said) is isinstance(error, RuntimeError)


def test_what_the_job_has_written_is_kept(tmp_path: Path) -> None:
    def job(spec: dict[str, Any]) -> None:
        with Progress(Path(spec["result"]), "work", {"order": "7"}):
            raise Fault("it broke", "mend it")

    assert run(tmp_path, job)[1]["order"] == "7"


def test_a_full_disk_for_the_state_itself_is_reported_in_the_journal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/run/provision/job.json")

    monkeypatch.setattr(progress, "write_json", full)

    def job(_spec: dict[str, Any]) -> None:
        raise Fault("it broke", "mend it")

    assert run(tmp_path, job)[0] == 1
    said = capsys.readouterr().err
    assert "error: it broke\nnext: mend it\n" in said
    assert "/run/provision/job.json: No space left on device" in said


def test_a_disk_that_is_full_for_a_while_does_not_end_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "job.json", progress.write_json
    seen: list[str] = []

    def write(where: Path, body: dict[str, Any], mode: int) -> None:
        seen.append(body["state"])
        if len(seen) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(where, body, mode)

    monkeypatch.setattr(progress, "write_json", write)
    monkeypatch.setattr(progress, "INTERVAL", 0.01)
    with Progress(path, "work") as running:
        while len(seen) < 4:
            time.sleep(0.01)
        running.finish()
    assert state_of(path)["state"] == "done"


STOPPABLE = """\
import sys, time
from pathlib import Path
from provisioner.ansible.module_utils.provision.jobs.program import Program
from provisioner.ansible.module_utils.provision.jobs.progress import Progress

def work(spec):
    with Progress(Path(spec["result"]), "work"):
        try:
            print("at work", flush=True)
            time.sleep(60)
        finally:
            Path(spec["undone"]).touch()

sys.exit(Program("program", __name__, {"work": work}).main(["work", sys.argv[1]]))
"""


def test_a_job_that_systemd_stops_undoes_what_is_half_done_and_says_so(tmp_path: Path) -> None:
    spec, result = tmp_path / "spec.json", tmp_path / "job.json"
    spec.write_text(json.dumps({"result": str(result), "undone": str(tmp_path / "undone")}), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-c", STOPPABLE, str(spec)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == STOPPED
    assert (tmp_path / "undone").exists()
    assert state_of(result)["message"] == "work: it was stopped before it had finished"
