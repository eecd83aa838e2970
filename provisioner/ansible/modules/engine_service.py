# SPDX-License-Identifier: Apache-2.0
"""Set up, start, await or remove the systemd service of an inference engine."""

from __future__ import annotations

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.engine import causes, files, gate
from ansible.module_utils.provision.engine import unit as engine_unit
from ansible.module_utils.provision.engine.inspection import Inspection, Service, inspect
from ansible.module_utils.provision.engine.ports import Holder
from ansible.module_utils.provision.engine.unit import UnitStatus
from ansible.module_utils.provision.gpu.containers import describe, gpu_containers
from ansible.module_utils.provision.host import managed
from ansible.module_utils.provision.host.entry import run_module
from ansible.module_utils.provision.host.fault import Fault, require_consent

JOURNAL_LINES = 600
NEEDED_TO_START = ("user", "unit_text", "environment_text")


def start(module: AnsibleModule) -> None:
    """Write files, create the user and queue the start or restart of the unit, as far as needed."""
    service = Service.of(module.params)
    refuse_foreign(module)
    found = inspect(service)
    status = found.status
    if found.holder and not (module.check_mode and will_be_removed(found.holder, module.params["units"])):
        raise Fault(f"port {found.port} is taken by {found.holder}", gate.FREE_THE_PORT)
    result: dict[str, Any] = {
        "changed": found.changed,
        "diff": [file.diff() for file in found.wrong],
        "action": found.action,
        "serving": not found.action and status.serving,
        # A service that is recovering by itself may fail once more than one that was just started.
        "restarts": 0 if found.action else status.restarts + (1 if status.between_attempts else 0),
    }
    if status.serving and found.stale:
        result.update(consent(module, f"restart {service.unit}: {', '.join(found.stale)} changed"))
    if found.reloads:
        result.setdefault("provision", {})["warning"] = container_warnings()
    if found.changed and not module.check_mode:
        if not found.user_right:
            files.make_user(service.user, service.groups)
        converge(service.unit, found)
    module.exit_json(**result)


def refuse_foreign(module: AnsibleModule) -> None:
    """Refuse to take over a unit file or a user that provision did not create."""
    unit, user = module.params["unit"], module.params["user"]
    if files.is_foreign_unit(unit):
        path = managed.UNITS / unit
        step = f"move {path} away on the host, or set serve_name to another name"
        raise Fault(f"{path} exists and was not created by provision", step)
    if files.is_foreign_user(user):
        adopt = f"usermod --comment {files.COMMENT} {user}"
        step = f"rename or remove that user, or, if the engine may run as this user, run `{adopt}`"
        raise Fault(f"user {user} exists and was not created by provision", step)


def will_be_removed(holder: Holder, units: list[str]) -> bool:
    """Return whether the port belongs to a service that a real run removes beforehand."""
    unit: str = holder.unit()
    return bool(unit) and unit not in units


def converge(unit: str, found: Inspection) -> None:
    """Write what is wrong and notify systemd; a run that ends in between is completed by the next one."""
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
    """Wait a while for the service's first answer and report the progress."""
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
    """Return whether the awaited start has failed, although systemd may try again."""
    if not status.starting:
        return True
    failed: bool = status.restarts + int(status.between_attempts) > restarts
    return failed


def explain_failure(module: AnsibleModule, status: UnitStatus) -> None:
    """Fail with the end of the journal and what it means; no crash loop keeps running."""
    unit = module.params["unit"]
    journal = engine_unit.journal(unit, JOURNAL_LINES, status.invocation)
    if status.starting:
        engine_unit.stop(unit)
    meaning, step = causes.explain(journal, status.result, module.params["causes"], unit)
    head = f"{unit} did not start: {meaning or status.result}"
    raise Fault("\n".join([head, *(f"  {line}" for line in causes.excerpt(journal))]), step)


def request_removal(module: AnsibleModule) -> None:
    """Require consent to remove a service that is no longer in the inventory; check mode only warns."""
    what = f"remove {module.params['unit']}, which is no longer in the inventory, and what only it uses"
    needed = consent(module, what)
    if module.check_mode:
        needed = {"provision": {**needed.get("provision", {}), "warning": [f"would {what}"]}}
    module.exit_json(changed=False, **needed)


def remove(module: AnsibleModule) -> None:
    """Stop the service and remove everything that only it uses."""
    unit, user = module.params["unit"], module.params["user"]
    if files.is_foreign_unit(unit):
        module.exit_json(changed=False, removed=[])
    status = engine_unit.status(unit)
    paths = files.leftovers(unit)
    last = not managed.others(unit, user) and not module.params["replaced"]
    with_user = last and files.user_is_right(user, []) and not files.is_foreign_user(user)
    needed = consent(module, f"stop and remove {unit}") if status.serving else {}
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
    module.exit_json(changed=changed, removed=[str(path) for path in paths], **needed)


def container_warnings() -> list[str]:
    """Return a warning for each container that may lose its GPUs when systemd reloads its units."""
    return [
        f"systemd reloads its units, and {describe(one)}: it may lose them until it is restarted"
        for one in gpu_containers()
    ]


def consent(module: AnsibleModule, what: str) -> dict[str, Any]:
    """Refuse what no one has allowed; check mode only reports it."""
    provision = require_consent([what], given=module.params["consent"], dry=module.check_mode)
    return {"provision": provision} if provision else {}


STATES = {"inspected": request_removal, "present": start, "absent": remove, "verified": wait}
TEXT = {"type": "str"}
ARGUMENTS = {
    "unit": {"type": "str", "required": True},
    "state": {"type": "str", "choices": list(STATES), "default": "present"},
    "user": TEXT,
    "groups": {"type": "list", "elements": "str", "default": []},
    "unit_text": TEXT,
    "environment_text": TEXT,
    "api_key_file": {"type": "path", "no_log": False},
    "api_key_pending": {"type": "bool", "default": False, "no_log": False},
    "key_variable": {"type": "str", "no_log": False},
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
