# SPDX-License-Identifier: Apache-2.0
"""Follow the unit that changes a host's driver, and tell once what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.job_unit import Job
from ansible.module_utils.json_files import read_json, write_json
from ansible.module_utils.transient_unit import wait

UNIT = "provision-job-driver"
RUNTIME = Path("/run/provision")
REPORTED = RUNTIME / "nvidia_driver.reported"


def job_of(params: dict[str, Any]) -> Job:
    """Return the job that changes drivers, one at a time."""
    return Job(UNIT, RUNTIME, params["poll"], params["environment_file"])


def attend(module: Any, job: Job) -> None:
    """Wait for a unit that is at work, and end with its outcome or its progress; it is never started here."""
    now = wait(job.unit, job.poll)
    if now.running:
        module.exit_json(**job.progress())
    told = job.told()
    if now.failed or told.get("state") != "done":
        raise job.failure(now, told)
    report(module, told, {})


def unreported(job: Job) -> dict[str, Any] | None:
    """Return what the unit did when it ended between two looks, so that its change and a reboot are told."""
    told: dict[str, Any] = job.told()
    return told if told.get("state") == "done" and told["invocation"] != read_json(REPORTED, None) else None


def report(module: Any, told: dict[str, Any], result: dict[str, Any]) -> None:
    """End with what the unit has done; that is told once."""
    write_json(REPORTED, told["invocation"], 0o644)
    outcome = told["outcome"]
    for warning in outcome["warnings"]:
        module.warn(warning)
    module.exit_json(**{"action": "", "why": [], "reboot": "", **result, **outcome, "finished": True})
