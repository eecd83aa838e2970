# SPDX-License-Identifier: Apache-2.0
"""Verify a host, or that one of its services generates tokens."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_verify
short_description: Climb the verification ladder of a host or of a service
description:
  - Every rung shows its evidence; a health page is never evidence, a generated token is.
  - Fails if a rung failed, with all rungs in C(provision.rungs). Changes nothing.
options:
  scope: {type: str, choices: [host, service], required: true, description: What to verify.}
  service: {type: str, description: Name of the service.}
  unit: {type: str, description: Its systemd unit.}
  url: {type: str, description: Its base URL, as seen from the host.}
  health_path: {type: str, default: /health, description: Path of the engine's health page.}
  model: {type: str, description: Name of the model in requests.}
  model_dir: {type: str, description: Directory that is served.}
  address: {type: str, description: Address it listens on.}
  prompt: {type: str, description: Prompt that the model must answer.}
  answer_seconds: {type: int, default: 120, description: Seconds to wait for the answer.}
  expect: {type: str, default: '', description: Text that the answer must contain, ignoring case.}
  device: {type: str, choices: [cpu, cuda], default: cpu, description: Device it must run on.}
  settings: {type: list, elements: dict, default: [], description: Settings that must have taken effect.}
  setting_causes: {type: list, elements: dict, default: [], description: Why a setting can differ.}
  memory: {type: dict, default: {}, description: How to find out how much of the model is on the GPU.}
  gpus: {type: list, elements: dict, default: [], description: GPUs that the probe of the host found.}
  driver: {type: dict, description: What the probe found of the NVIDIA driver; required for a host.}
  gpus_expected: {type: bool, default: false, description: Whether a service must run on a GPU.}
  systemd: {type: int, default: 0, description: Version of systemd that the probe found.}
"""

EXAMPLES = r"""
- name: Check the host
  service_verify:
    scope: host
    systemd: 257
    driver: "{{ ansible_facts.host_probe.driver }}"
"""

RETURN = r"""
provision:
  type: dict
  returned: always
  description: C(rungs), each with its status and evidence, and the C(answer) of the model.
"""

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
