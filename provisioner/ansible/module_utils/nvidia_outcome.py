# SPDX-License-Identifier: Apache-2.0
"""Follow the unit that changes a host's driver, and tell once what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.job_unit import Job
from ansible.module_utils.json_files import read_json, write_json
from ansible.module_utils.transient_unit import wait

UNIT = "provision-job-driver"
INSTALL, REMOVE = "install", "remove"
RUNTIME = Path("/run/provision")
REPORTED = RUNTIME / "nvidia_driver.reported"


def job_of(params: dict[str, Any]) -> Job:
    """Return the job that changes drivers, one at a time."""
    return Job(UNIT, RUNTIME, params["poll"], params["environment_file"])


def ended(module: Any, job: Job) -> dict[str, Any] | None:
    """Wait for a unit that is at work, and return what it or the one before came to, unless that was told.

    Nothing is started here; a unit that is still at work ends the call with its progress.
    """
    if job.running:
        now = wait(job.unit, job.poll)
        if now.running:
            module.exit_json(**job.progress())
        told = job.told()
        if now.failed or told.get("state") != "done":
            raise job.failure(now, told)
    told = job.told()
    return told if told.get("state") == "done" and told["invocation"] != read_json(REPORTED, None) else None


def is_answer(told: dict[str, Any], verb: str, asked: dict[str, Any]) -> bool:
    """Tell whether a unit did what is asked for now: an earlier run may have asked for something else."""
    return (told.get("verb"), told.get("asked")) == (verb, asked)


def forget(told: dict[str, Any]) -> None:
    """Note that an outcome has been looked at, and is nobody's answer any more."""
    write_json(REPORTED, told["invocation"], 0o644)


def report(module: Any, told: dict[str, Any], result: dict[str, Any]) -> None:
    """End with what the unit has done; that is told once."""
    forget(told)
    outcome = told["outcome"]
    for warning in outcome["warnings"]:
        module.warn(warning)
    module.exit_json(**{"action": "", "why": [], "reboot": "", **result, **outcome, "finished": True})
