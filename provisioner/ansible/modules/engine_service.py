# SPDX-License-Identifier: Apache-2.0
"""Set up, start, await or remove the systemd service of an inference engine."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.engine import causes, files, gate, inputs, processes
from ansible.module_utils.provision.engine.files import ManagedFile
from ansible.module_utils.provision.engine.tasks import AUTO
from ansible.module_utils.provision.gpu.containers import describe, gpu_containers
from ansible.module_utils.provision.host import managed, reach, systemd
from ansible.module_utils.provision.host.entry import Result, require_consent, run
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.systemd import UnitState
from ansible.module_utils.provision.jobs import program
from ansible.module_utils.provision.models.task import of_directory

JOURNAL_LINES = 600
PLACE = "model_store_root (or serve_model, where that is a path)"


@dataclass(frozen=True)
class Service:
    """Hold what the controller wants of one service."""

    unit: str
    user: str
    groups: list[str]
    unit_text: str
    environment_text: str
    api_key_file: str | None
    api_key_pending: bool
    key_variable: str
    addresses: list[str] = field(default_factory=list)

    def files(self) -> list[ManagedFile]:
        """Return the files that the service needs, in the order in which they are safe to write."""
        found = [
            ManagedFile(files.GATE, program.pack(gate.__name__), 0o755, kind="program"),
            ManagedFile(files.setting(self.unit, ".env"), self.environment_text.encode(), 0o640, self.user),
            ManagedFile(managed.UNITS / self.unit, self.unit_text.encode(), 0o644),
        ]
        if self.api_key_file:
            # In check mode, a new key has not been copied: all that is known is that it differs.
            key = "pending" if self.api_key_pending else Path(self.api_key_file).read_text(encoding="utf-8")
            line = files.key_line(self.key_variable, key.strip()).encode()
            found.append(ManagedFile(files.setting(self.unit, ".key"), line, 0o640, self.user, kind="key"))
        return found


class Inspection:
    """Compare a service on the host with what is wanted; changes nothing."""

    def __init__(self, service: Service) -> None:
        wanted, given = service.files(), gate.given_by(service.unit_text)
        self.model_dir = given.model_dir
        self.status, self.port = systemd.state(service.unit), given.port
        held = (processes.holder(address, given.port) for address in (given.address, *service.addresses))
        others = (one for one in held if one and not one.is_of(self.status.control_group))
        self.holder = next(others, None)
        self.wrong = [file for file in wanted if not file.is_right()]
        # Taken now: afterwards the files are right.
        self.diff = [file.diff() for file in self.wrong]
        keys = (files.setting(service.unit, suffix) for suffix in (".key", ".secret"))
        self.surplus = [] if service.api_key_file else [file for file in keys if file.exists()]
        found = inputs.read(service.unit, given.model_dir)
        digests = {file.path.suffix: hashlib.sha256(file.content).hexdigest() for file in wanted}
        # What the gate will record when the service starts from these files.
        coming = {
            "unit file": inputs.unit_digest(service.unit_text.encode()),
            "environment": digests[".env"],
            "API key": digests.get(".key", "absent"),
            "model files": found.now["model files"],
        }
        self.stale = found.changed(coming)
        self.user_right = files.user_is_right(service.user, service.groups)

    @property
    def action(self) -> str:
        """Return what systemd has to do."""
        if not (self.status.serving or self.status.starting):
            return "start"
        return "restart" if self.stale else ""

    @property
    def reloads(self) -> bool:
        """Return whether systemd has to read its units again."""
        return self.status.needs_reload or any(file.path.suffix == ".service" for file in self.wrong)

    @property
    def changed(self) -> bool:
        """Return whether anything differs from what is wanted."""
        right = self.user_right and self.status.enabled
        return bool(self.wrong or self.surplus or self.action or not right)


def start(module: AnsibleModule) -> Result:
    """Write files, create the user and queue the start or restart of the unit, as far as needed."""
    service = Service(
        **{one.name: module.params[one.name] for one in fields(Service) if one.name in module.params}
    )
    refuse_foreign(service.unit, service.user)
    if module.params["task"] == AUTO:
        refuse_task(gate.given_by(service.unit_text).model_dir, module.params["tasks"])
    found = Inspection(service)
    status = found.status
    # A real run removes services that are no longer in the inventory beforehand.
    leaves = module.check_mode and found.holder and found.holder.unit() not in ("", *module.params["units"])
    if found.holder and not leaves:
        raise Fault(f"port {found.port} is taken by {found.holder}", gate.FREE_THE_PORT)
    provision: dict[str, Any] = {}
    if status.serving and found.stale:
        provision = require_consent(module, [f"restart {service.unit}: {', '.join(found.stale)} changed"])
    if found.reloads:
        reload = "systemd reloads its units, and {}: it may lose them until it is restarted"
        provision["warning"] = [reload.format(describe(one)) for one in gpu_containers()]
    if found.changed and not module.check_mode:
        if not found.user_right:
            files.make_user(service.user, service.groups)
        if found.action and found.model_dir:
            reach.require(Path(found.model_dir), service.user, writable=False, choice=PLACE)
        converge(service.unit, found)
        if found.action:
            provision["replaced"] = [{"unit": service.unit}]
    return {
        "changed": found.changed,
        "diff": found.diff,
        "action": found.action,
        "serving": not found.action and status.serving,
        # A service that is recovering by itself may fail once more than one that was just started.
        "restarts": 0 if found.action else status.restarts + status.between_attempts,
        "provision": provision,
    }


def refuse_foreign(unit: str, user: str) -> None:
    """Refuse to take over a unit file or a user that provision did not create."""
    if files.is_foreign_unit(unit):
        path = managed.UNITS / unit
        masked = path.resolve() == Path("/dev/null")
        reason = f"{unit} is masked" if masked else f"{path} exists and was not created by provision"
        step = f"run `systemctl unmask {unit}`" if masked else f"move {path} away"
        raise Fault(reason, f"{step} on the host, or set serve_name to another name")
    if files.is_foreign_user(user):
        adopt = f"usermod --comment {files.COMMENT} {user}"
        step = f"rename or remove that user, or, if the engine may run as this user, run `{adopt}`"
        raise Fault(f"user {user} exists and was not created by provision", step)


def refuse_task(model_dir: str, offered: list[str]) -> None:
    """Refuse a model that was made for something that the engine does not do."""
    task, why = of_directory(Path(model_dir)) if model_dir else ("", "")
    if task and offered and task not in offered:
        raise Fault(
            f"the model was made for another task ({task}) than the engine supports "
            f"({', '.join(offered)}): {model_dir} contains {why}",
            "choose an engine that supports the task, which `provision engines` shows; "
            "if the model does answer prompts, set serve_task: generate",
        )


def converge(unit: str, found: Inspection) -> None:
    """Write what is wrong and notify systemd; a run that ends in between is completed by the next one."""
    for file in found.wrong:
        file.write()
    files.remove(found.surplus)
    if found.reloads:
        systemd.systemctl("daemon-reload")
    if not found.status.enabled:
        systemd.systemctl("enable", unit)
    if found.action:
        systemd.forgive(unit)
        systemd.systemctl("--no-block", found.action, unit)


def wait(module: AnsibleModule) -> Result:
    """Wait a while for the service's first answer and report the progress."""
    unit, deadline = module.params["unit"], time.monotonic() + module.params["poll"]
    while True:
        status = systemd.state(unit)
        if status.serving:
            return {"changed": False, "finished": True}
        if has_failed(status, module.params["restarts"]):
            explain_failure(unit, status, module.params["causes"])
        if time.monotonic() >= deadline:
            lines = causes.journal(unit, 1, status.invocation)
            label = f"{unit} is starting" + (f": {lines[-1].strip()[-100:]}" if lines else "")
            return {"changed": False, "finished": False, "provision": {"progress": {"label": label}}}
        time.sleep(0.5)


def has_failed(status: UnitState, restarts: int) -> bool:
    """Return whether the awaited start has failed, although systemd may try again."""
    return not status.starting or status.restarts + status.between_attempts > restarts


def explain_failure(unit: str, status: UnitState, known: list[dict[str, str]]) -> None:
    """Fail with the end of the journal and what it means; no crash loop keeps running."""
    journal = causes.journal(unit, JOURNAL_LINES, status.invocation)
    if status.starting:
        systemd.stop(unit)
    meaning, step = causes.explain(journal, status.result, known, unit)
    head = f"{unit} did not start: {meaning or status.result}"
    raise Fault("\n".join([head, *(f"  {line}" for line in causes.excerpt(journal))]), step)


def request_removal(module: AnsibleModule) -> Result:
    """Require consent to remove a service that is no longer in the inventory; check mode only warns."""
    what = f"remove {module.params['unit']}, which is no longer in the inventory, and what only it uses"
    provision = require_consent(module, [what])
    if module.check_mode:
        provision["warning"] = [f"would {what}"]
    return {"changed": False, "provision": provision}


def remove(module: AnsibleModule) -> Result:
    """Stop the service and remove everything that only it uses."""
    unit, user = module.params["unit"], module.params["user"]
    if files.is_foreign_unit(unit):
        return {"changed": False, "removed": []}
    status = systemd.state(unit)
    paths = files.leftovers(unit)
    last = not managed.others(unit, user) and not module.params["replaced"]
    with_user = last and files.user_is_right(user, []) and not files.is_foreign_user(user)
    provision = require_consent(module, [f"stop and remove {unit}"]) if status.serving else {}
    changed = bool(paths or with_user or status.serving or status.starting)
    if changed and not module.check_mode:
        if status.loaded:
            systemd.stop(unit)
            systemd.systemctl("disable", unit)
        files.remove(paths)
        systemd.systemctl("daemon-reload")
        systemd.forgive(unit)
        if with_user:
            files.remove_user(user)
        provision["replaced"] = [{"unit": unit}]
    return {"changed": changed, "removed": [str(path) for path in paths], "provision": provision}


STATES = {"inspected": request_removal, "present": start, "absent": remove, "verified": wait}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "unit": {"type": "str", "required": True},
    "state": {"type": "str", "choices": list(STATES), "default": "present"},
    "user": {"type": "str"},
    "groups": {"type": "list", "elements": "str", "default": []},
    "unit_text": {"type": "str"},
    "environment_text": {"type": "str"},
    "api_key_file": {"type": "path", "no_log": False},
    "api_key_pending": {"type": "bool", "default": False, "no_log": False},
    "key_variable": {"type": "str", "no_log": False},
    "addresses": {"type": "list", "elements": "str", "default": []},
    "task": {"type": "str", "default": AUTO},
    "tasks": {"type": "list", "elements": "str", "default": []},
    "units": {"type": "list", "elements": "str", "default": []},
    "replaced": {"type": "bool", "default": False},
    "consent": {"type": "bool", "default": False},
    "restarts": {"type": "int", "default": 0},
    "poll": {"type": "int", "default": 10},
    "timeout": {"type": "int", "default": 14400},
    "causes": {"type": "list", "elements": "dict", "default": []},
}
RULES = [("state", "present", ("user", "unit_text", "environment_text")), ("state", "absent", ("user",))]


def main() -> None:
    """Run the module."""
    run(lambda module: STATES[module.params["state"]](module), ARGUMENTS, required_if=RULES)


if __name__ == "__main__":
    main()
