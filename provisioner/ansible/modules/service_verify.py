# SPDX-License-Identifier: Apache-2.0
"""Verify a host, or that one of its services generates tokens."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ansible.module_utils.provision.engine.processes import exposed
from ansible.module_utils.provision.engine.rungs import Ladder, Service
from ansible.module_utils.provision.engine.tasks import AUTO, TASKS
from ansible.module_utils.provision.gpu.health import host_rungs
from ansible.module_utils.provision.host.entry import Result, run
from ansible.module_utils.provision.host.payload import FAILED, Rung

ARGUMENTS: dict[str, dict[str, Any]] = {
    "scope": {"type": "str", "choices": ["host", "service"], "required": True},
    "service": {"type": "str"},
    "unit": {"type": "str"},
    "url": {"type": "str"},
    "health_path": {"type": "str", "default": "/health"},
    "model": {"type": "str"},
    "model_dir": {"type": "str"},
    "address": {"type": "str"},
    "prompt": {"type": "str"},
    "answer_seconds": {"type": "int", "default": 120},
    "expect": {"type": "str", "default": ""},
    "task": {"type": "str", "choices": [AUTO, *TASKS], "default": AUTO},
    "device": {"type": "str", "choices": ["cpu", "cuda"], "default": "cpu"},
    "settings": {"type": "list", "elements": "dict", "default": []},
    "setting_causes": {"type": "list", "elements": "dict", "default": []},
    "memory": {"type": "dict", "default": {}},
    "gpus": {"type": "list", "elements": "dict", "default": []},
    "driver": {"type": "dict"},
    "gpus_expected": {"type": "bool", "default": False},
    "systemd": {"type": "int", "default": 0},
}
SERVICE_ARGUMENTS = ("service", "unit", "url", "model", "model_dir", "address", "prompt")


def verify_service(given: dict[str, Any]) -> tuple[list[Rung], dict[str, Any]]:
    """Return a service's rungs, and its answer and warnings for the report."""
    ladder = Ladder(Service.of(given))
    rungs = ladder.climb()
    more: dict[str, Any] = {"answer": asdict(ladder.answer)} if ladder.answer else {}
    places = exposed(ladder.status.control_group, given["address"])
    said = {
        "also listens on {}, which is not configured": places,
        "answers without its API key at {}": ladder.open,
    }
    warnings = [f"{given['unit']} {text.format(', '.join(at))}" for text, at in said.items() if at]
    if warnings:
        more["warning"] = warnings
    return rungs, more


def verify(given: dict[str, Any]) -> Result:
    """Return the rungs as the result; one that has failed makes it a failure."""
    if given["scope"] == "host":
        expected = given["gpus_expected"]
        rungs = host_rungs(given["gpus"], given["driver"], given["systemd"], gpus_expected=expected)
        more: dict[str, Any] = {}
    else:
        rungs, more = verify_service(given)
    provision = {"rungs": [rung.to_dict() for rung in rungs], **more}
    failed = next((rung for rung in rungs if rung.status == FAILED), None)
    if failed is None:
        return {"changed": False, "provision": provision}
    of = f"{given['unit']}: " if given["unit"] else ""
    message = f"{of}{failed.rung}: {failed.evidence}"
    return {"failed": True, "msg": message, "provision": {**provision, "next": failed.next}}


def main() -> None:
    """Run the module."""
    rules = [("scope", "service", SERVICE_ARGUMENTS), ("scope", "host", ["driver"])]
    run(lambda module: verify(module.params), ARGUMENTS, required_if=rules)


if __name__ == "__main__":
    main()
