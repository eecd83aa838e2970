# SPDX-License-Identifier: Apache-2.0
"""Bring the systemd service of an inference engine into being, to an answer, or away."""

from __future__ import annotations

DOCUMENTATION = r"""
module: engine_service
short_description: Manage the systemd service of an inference engine
description:
  - Compares the unit, its environment file, its key and its user with the host, in one round trip.
  - Restarts the service only when what it was started with differs from what a start would read now.
  - V(inspected) asks whether a unit that the inventory no longer names may be removed, and changes nothing.
  - V(present) queues the start and returns; a task with V(verified) waits for the first answer. systemd
    starts the service even if the connection is lost.
options:
  unit: {type: str, required: true, description: Name of the unit.}
  state: {type: str, choices: [inspected, present, absent, verified], default: present, description: Aim.}
  user: {type: str, description: System user of the engine.}
  groups: {type: list, elements: str, default: [], description: Further groups of the user.}
  unit_text: {type: str, description: Content of the unit file.}
  environment_text: {type: str, description: Content of the environment file.}
  gate_text: {type: str, description: Program that guards the start.}
  api_key_file: {type: path, description: File on the host with the key that clients must send.}
  api_key_pending: {type: bool, description: Whether a check has left out copying another key.}
  key_variable: {type: str, description: Environment variable in which the engine takes the key.}
  model_dir: {type: str, description: Directory that is served.}
  address: {type: str, description: Address to listen on.}
  port: {type: int, description: Port to listen on.}
  units: {type: list, elements: str, default: [], description: Units that the inventory names on this host.}
  replaced: {type: bool, default: false, description: Whether its engine gets another service.}
  consent: {type: bool, default: false, description: Whether a serving engine may be interrupted.}
  restarts: {type: int, default: 0, description: Restarts that V(present) counted, which are no failure.}
  poll: {type: int, default: 10, description: Seconds until V(verified) reports progress.}
  timeout: {type: int, default: 14400, description: Longest time in seconds that the task waits.}
  causes: {type: list, elements: dict, default: [], description: Patterns of the engine's journal.}
"""

EXAMPLES = r"""
- name: Remove a service
  engine_service:
    unit: abacus.service
    user: abacus
    state: absent
"""

RETURN = r"""
action: {type: str, returned: present, description: What was queued - start or restart - or nothing.}
serving: {type: bool, returned: present, description: Whether the model answers and nothing was queued.}
finished: {type: bool, returned: verified, description: Whether the model answers.}
restarts: {type: int, returned: present, description: Count that V(verified) takes as its baseline.}
removed: {type: list, elements: str, returned: absent, description: Paths that were removed.}
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.engine import causes, files
from ansible.module_utils.provision.engine import unit as engine_unit
from ansible.module_utils.provision.engine.look import Look, look, owning_unit
from ansible.module_utils.provision.engine.unit import UnitStatus
from ansible.module_utils.provision.gpu.containers import describe, gpu_containers
from ansible.module_utils.provision.host import managed
from ansible.module_utils.provision.host.entry import run_module
from ansible.module_utils.provision.host.fault import ConsentNeeded, Fault

JOURNAL_LINES = 600
NEEDED_TO_START = ("user", "unit_text", "environment_text", "gate_text", "model_dir", "address", "port")


def start(module: AnsibleModule) -> None:
    """Bring files, user and unit to what is asked, and queue what start or restart that takes."""
    given = module.params
    refuse_foreign(module)
    found = look(given)
    status = found.status
    if found.owner and not (module.check_mode and will_go(module, found.owner)):
        step = "stop that process, or set serve_port to a free port"
        raise Fault(f"port {given['port']} is taken by {found.owner}", step)
    result: dict[str, Any] = {
        "changed": found.changed,
        "diff": [file.diff() for file in found.wrong],
        "action": found.action,
        "serving": not found.action and status.serving,
        # A service that is recovering by itself may fail once more than one that was just started.
        "restarts": 0 if found.action else status.restarts + (1 if status.between_attempts else 0),
    }
    if status.serving and found.stale:
        result.update(consent(module, f"restart {given['unit']}: {', '.join(found.stale)} changed"))
    if found.reloads:
        result.setdefault("provision", {})["warning"] = container_warnings()
    if found.changed and not module.check_mode:
        if not found.user_right:
            files.make_user(given["user"], given["groups"])
        converge(given["unit"], found)
    module.exit_json(**result)


def refuse_foreign(module: AnsibleModule) -> None:
    """Refuse to take over a unit file or a user that somebody else has made."""
    unit, user = module.params["unit"], module.params["user"]
    if files.is_foreign_unit(unit):
        path = managed.UNITS / unit
        step = f"move {path} away on the host, or set serve_name to another name"
        raise Fault(f"{path} exists and was not made by provision", step)
    if files.is_foreign_user(user):
        adopt = f"usermod --comment {files.COMMENT} {user}"
        step = f"rename or remove that user, or, if the engine may run as it, run `{adopt}`"
        raise Fault(f"user {user} exists and was not made by provision", step)


def will_go(module: AnsibleModule, owner: str) -> bool:
    """Tell whether a dry run finds the port with a service that the run itself removes beforehand."""
    unit = owning_unit(owner)
    return bool(unit) and unit not in module.params["units"]


def converge(unit: str, found: Look) -> None:
    """Write what is wrong and tell systemd; a run that ends in between is completed by the next one."""
    for file in found.wrong:
        file.write()
    files.remove(found.surplus)
    if found.reloads:
        engine_unit.systemctl("daemon-reload")
    if not found.status.enabled:
        engine_unit.systemctl("enable", unit)
    if found.action:
        engine_unit.forgive(unit)
        engine_unit.systemctl("--no-block", found.action, unit)


def wait(module: AnsibleModule) -> None:
    """Wait a while for the service's first answer and report how far it is."""
    given = module.params
    unit, deadline = given["unit"], time.monotonic() + given["poll"]
    while True:
        status = engine_unit.status(unit)
        if status.serving:
            module.exit_json(changed=False, finished=True)
        if has_failed(status, given["restarts"]):
            explain_failure(module, status)
        if time.monotonic() >= deadline:
            lines = engine_unit.journal(unit, 1, status.invocation)
            label = f"{unit} is starting" + (f": {lines[-1].strip()[-100:]}" if lines else "")
            module.exit_json(changed=False, finished=False, provision={"progress": {"label": label}})
        time.sleep(0.5)


def has_failed(status: UnitStatus, restarts: int) -> bool:
    """Tell whether the start that is waited for has failed, though systemd may try again."""
    if not status.starting:
        return True
    failed: bool = status.restarts + int(status.between_attempts) > restarts
    return failed


def explain_failure(module: AnsibleModule, status: UnitStatus) -> None:
    """Fail with the journal's end and what it means; no crash loop is left running behind."""
    unit = module.params["unit"]
    journal = engine_unit.journal(unit, JOURNAL_LINES, status.invocation)
    if status.starting:
        engine_unit.stop(unit)
    meaning, step = causes.explain(journal, status.result, module.params["causes"], unit)
    head = f"{unit} did not start: {meaning or status.result}"
    raise Fault("\n".join([head, *(f"  {line}" for line in causes.excerpt(journal))]), step)


def ask(module: AnsibleModule) -> None:
    """Ask whether a service may go that the inventory no longer names; a dry run says that it would."""
    what = f"remove {module.params['unit']}, which the inventory no longer names, and what it alone uses"
    asked = consent(module, what)
    if module.check_mode:
        asked = {"provision": {**asked.get("provision", {}), "warning": [f"would {what}"]}}
    module.exit_json(changed=False, **asked)


def remove(module: AnsibleModule) -> None:
    """Stop the service and remove everything that is its own."""
    unit, user = module.params["unit"], module.params["user"]
    if files.is_foreign_unit(unit):
        module.exit_json(changed=False, removed=[])
    status = engine_unit.status(unit)
    paths = files.leftovers(unit)
    last = not managed.others(unit, user) and not module.params["replaced"]
    with_user = last and files.user_is_right(user, []) and not files.is_foreign_user(user)
    asked = consent(module, f"stop and remove {unit}") if status.serving else {}
    changed = bool(paths or with_user or status.serving or status.starting)
    if changed and not module.check_mode:
        if status.loaded:
            engine_unit.stop(unit)
            engine_unit.systemctl("disable", unit)
        files.remove(paths)
        engine_unit.systemctl("daemon-reload")
        engine_unit.forgive(unit)
        if with_user:
            files.remove_user(user)
    module.exit_json(changed=changed, removed=[str(path) for path in paths], **asked)


def container_warnings() -> list[str]:
    """Name the containers that may lose their GPUs when systemd reads its units again."""
    return [
        f"systemd reads its units again, and {describe(one)}: it may lose them until it is started again"
        for one in gpu_containers()
    ]


def consent(module: AnsibleModule, what: str) -> dict[str, Any]:
    """Refuse what nobody has allowed; a dry run only names it."""
    allowed: bool = module.params["consent"]
    if allowed:
        return {}
    fault = ConsentNeeded([what])
    if not module.check_mode:
        raise fault
    return {"provision": fault.provision}


STATES = {"inspected": ask, "present": start, "absent": remove, "verified": wait}
TEXT = {"type": "str"}
ARGUMENTS = {
    "unit": {"type": "str", "required": True},
    "state": {"type": "str", "choices": list(STATES), "default": "present"},
    "user": TEXT,
    "groups": {"type": "list", "elements": "str", "default": []},
    "unit_text": TEXT,
    "environment_text": TEXT,
    "gate_text": TEXT,
    "api_key_file": {"type": "path", "no_log": False},
    "api_key_pending": {"type": "bool", "default": False, "no_log": False},
    "key_variable": {"type": "str", "no_log": False},
    "model_dir": TEXT,
    "address": TEXT,
    "port": {"type": "int"},
    "units": {"type": "list", "elements": "str", "default": []},
    "replaced": {"type": "bool", "default": False},
    "consent": {"type": "bool", "default": False},
    "restarts": {"type": "int", "default": 0},
    "poll": {"type": "int", "default": 10},
    "timeout": {"type": "int", "default": 14400},
    "causes": {"type": "list", "elements": "dict", "default": []},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_if=[
            ("state", "present", NEEDED_TO_START),
            ("state", "absent", ("user",)),
        ],
        supports_check_mode=True,
    )
    run_module(module, lambda: STATES[module.params["state"]](module))


if __name__ == "__main__":
    main()
