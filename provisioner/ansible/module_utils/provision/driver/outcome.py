# SPDX-License-Identifier: Apache-2.0
"""Follow the unit that changes a host's driver, and tell once what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..host.json_files import read_json, write_json
from ..jobs.job import Job
from ..jobs.unit import wait

UNIT = "provision-job-driver"
INSTALL, REMOVE = "install", "remove"
RUNTIME = Path("/run/provision")
REPORTED = RUNTIME / "nvidia_driver.reported"


def job_of(params: dict[str, Any]) -> Job:
    """Return the job that changes drivers, one at a time."""
    return Job(UNIT, RUNTIME, params["poll"], params["environment_file"])


def tell(module: Any, job: Job, verb: str, asked: dict[str, Any]) -> None:
    """End with what a unit came to, once, if that is what is asked for now; nothing is started here.

    A unit that is still at work ends the call with its progress. What an earlier run has asked for otherwise
    is nobody's answer any more.
    """
    if job.running:
        now = wait(job.unit, job.poll)
        if now.running:
            module.exit_json(**job.progress())
        told = job.told()
        if now.failed or told.get("state") != "done":
            raise job.failure(now, told)
    told = job.told()
    if told.get("state") != "done" or told["invocation"] == read_json(REPORTED, None):
        return
    if (told.get("verb"), told.get("asked")) == (verb, asked):
        report(module, told, {})
    _forget(told)


def _forget(told: dict[str, Any]) -> None:
    write_json(REPORTED, told["invocation"], 0o644)


def report(module: Any, told: dict[str, Any], result: dict[str, Any]) -> None:
    """End with what the unit has done; that is told once."""
    _forget(told)
    outcome = told["outcome"]
    for warning in outcome["warnings"]:
        module.warn(warning)
    module.exit_json(**{"action": "", "why": [], "reboot": "", **result, **outcome, "finished": True})
