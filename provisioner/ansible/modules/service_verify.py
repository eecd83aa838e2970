# SPDX-License-Identifier: Apache-2.0
"""Verify a host, or that one of its services generates tokens."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.engine.processes import exposed
from ansible.module_utils.provision.engine.rungs import Ladder, Service
from ansible.module_utils.provision.gpu.rungs import host_rungs
from ansible.module_utils.provision.host.entry import run_module
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
    service = Service.of(given)
    ladder = Ladder(service)
    rungs = ladder.climb()
    more: dict[str, Any] = {} if ladder.answer is None else {"answer": asdict(ladder.answer)}
    places = exposed(ladder.status.control_group, service.address)
    if places:
        more["warning"] = [f"{service.unit} also listens on {', '.join(places)}, which is not configured"]
    return rungs, more


def verify(given: dict[str, Any]) -> dict[str, Any]:
    """Return the rungs as the result; one that has failed makes it a failure."""
    more: dict[str, Any] = {}
    if given["scope"] == "host":
        rungs = host_rungs(
            given["gpus"], given["driver"], given["systemd"], gpus_expected=given["gpus_expected"]
        )
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
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_if=[("scope", "service", SERVICE_ARGUMENTS), ("scope", "host", ["driver"])],
        supports_check_mode=True,
    )
    run_module(module, lambda: verify(module.params))


if __name__ == "__main__":
    main()
