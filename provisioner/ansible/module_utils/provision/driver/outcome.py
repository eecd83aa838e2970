# SPDX-License-Identifier: Apache-2.0
"""Follow the unit that changes a host's driver, and report its outcome once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

from ..host.files import read_json, write_json
from ..jobs.job import Job
from ..jobs.unit import wait
from .main import PROGRAM

UNIT = "provision-job-driver"
RUNTIME, PROGRAMS = Path("/run/provision"), Path("/usr/local/lib/provision")
REPORTED = RUNTIME / "nvidia_driver.reported"


def job_of(params: dict[str, Any]) -> Job:
    """Return the job that changes drivers, one at a time."""
    return Job(UNIT, PROGRAM, {**params, "runtime": RUNTIME, "programs": PROGRAMS})


def unreported(
    job: Job, verb: str, asked: dict[str, Any], warn: Callable[[str], None]
) -> dict[str, Any] | None:
    """Return the result of a unit that an earlier call started for this request, None if there is none.

    If the unit is still running, that is its progress. The outcome of another request is of no interest now.
    """
    if job.running:
        now = wait(job.unit, job.poll)
        if now.running:
            return job.progress()
        if now.failed or job.report().get("state") != "done":
            raise job.failure(now, job.report())
    ended = job.report()
    if ended.get("state") != "done" or ended["invocation"] == read_json(REPORTED, None):
        return None
    if (ended.get("verb"), ended.get("asked")) == (verb, asked):
        return report(ended, warn)
    write_json(REPORTED, ended["invocation"], 0o644)
    return None


def report(ended: dict[str, Any], warn: Callable[[str], None]) -> dict[str, Any]:
    """Return the result of a unit that has ended; it is reported once."""
    write_json(REPORTED, ended["invocation"], 0o644)
    outcome = dict(ended["outcome"])
    for warning in outcome.pop("warnings"):
        warn(warning)
    return {"action": "", "why": [], "reboot": "", **outcome, "finished": True}
