# SPDX-License-Identifier: Apache-2.0
"""Inspect, install, verify and remove the CUDA toolkits of a host."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.cuda.install import PROGRAM
from ansible.module_utils.provision.cuda.judge import c_library, judge
from ansible.module_utils.provision.cuda.orders import Orders
from ansible.module_utils.provision.cuda.place import Layout
from ansible.module_utils.provision.cuda.runfile import require_library
from ansible.module_utils.provision.cuda.state import State, check_toolkits, foresee
from ansible.module_utils.provision.cuda.versions import Toolkit, default, read
from ansible.module_utils.provision.driver.packages import matches
from ansible.module_utils.provision.gpu.kernel import loaded_driver
from ansible.module_utils.provision.gpu.pci import devices, own_gpus
from ansible.module_utils.provision.host.entry import run
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.jobs.job import DOWNLOADS, Job

UNIT = "provision-job-cuda"
PASSED_ON = ("cache", "reserve_bytes", "attempts", "stall_seconds", "lock_timeout")
SECONDS = 7200


def job_of(params: dict[str, Any]) -> Job:
    """Return the job that changes toolkits, one at a time."""
    return Job(UNIT, PROGRAM, params)


def work(params: dict[str, Any], state: State) -> dict[str, Any] | None:
    """Remove and install as far as one call can; return nothing as long as the unit is at work."""
    steps = {"remove": list(state.remove), "install": [asdict(one) for one in state.install]}
    given = params["wanted"]
    orders = Orders(
        order=hashlib.sha256(json.dumps(steps, sort_keys=True).encode()).hexdigest()[:12],
        title=", ".join(state.work),
        remove=list(state.remove),
        install=list(state.install),
        layout=state.layout,
        tmpdir=given["tmpdir"] or "",
        override=given["override"],
        needed_bytes=given["needed_bytes"],
        **{name: params[name] for name in PASSED_ON},
    )
    # Scripts of packages change to other domains of SELinux, which NoNewPrivileges prevents.
    limits: dict[str, object] = {"UMask": "0022", "RuntimeMaxSec": SECONDS, "NoNewPrivileges": False}
    return job_of(params).answer("order", "bring", orders, limits)


def change(module: AnsibleModule, state: State, toolkits: list[Toolkit]) -> dict[str, Any]:
    """Change everything as far as one call can."""
    params = module.params
    if state.work or job_of(params).running:
        if work(params, state) is None:
            return dict(job_of(params).progress(changed=True))
        state = look(params, toolkits)
        if state.install:
            raise Fault(
                f"the job has ended, but there is still something to do: {', '.join(state.work)}",
                "something else changes the toolkits of this host: apply again",
            )
    state.settle()
    if params["state"] == "absent":
        for path in Path(params["programs"]).glob("cuda-toolkit-*.pyz"):
            path.unlink()
    return {"changed": True, "finished": True}


def look(params: dict[str, Any], toolkits: list[Toolkit]) -> State:
    """Return what is installed and what must be done."""
    layout = Layout.read(params["layout"])
    return State.of(layout, toolkits, default(params["wanted"], toolkits), params["wanted"]["source"])


def check(module: AnsibleModule, toolkits: list[Toolkit]) -> None:
    """Refuse what this host's GPUs and its driver cannot use, and warn about the rest."""
    params = module.params
    gpus = [] if params["container"] else own_gpus(devices())
    driver = loaded_driver()[0] or ""
    # A dry run leaves out the driver that a real run would have installed by now.
    coming = module.check_mode and params["driver_wanted"] and not matches(params["driver_wanted"], driver)
    if not params["driver_settled"] or coming:
        driver = ""
    architectures = [gpu["architecture"] for gpu in gpus]
    for warning in judge(toolkits, architectures, driver, c_library(), params["table"]):
        module.warn(warning)


def outcome(module: AnsibleModule) -> dict[str, Any]:
    """Return the result of one call."""
    params = module.params
    toolkits = [] if params["state"] == "absent" else read(params["wanted"])
    chosen = default(params["wanted"], toolkits)
    if toolkits and params["table"]:
        check(module, toolkits)
    state = look(params, toolkits)
    if params["state"] == "inspected" and any(one.file for one in state.install):
        require_library(params["wanted"]["runfile_packages"])
    if params["state"] == "verified":
        verdict: dict[str, Any] = check_toolkits(state.layout, toolkits, chosen)
        return verdict
    # In the first phase this would be said twice.
    for line in state.stays if params["driver_settled"] else ():
        module.warn(line)
    result: dict[str, Any] = {
        "changed": False,
        "finished": True,
        "todo": state.todo,
        "needs_repository": any(not one.file for one in state.install),
        "needs_runfile": any(one.file for one in state.install),
    }
    if params["state"] == "inspected" or not (state.todo or job_of(params).running):
        return result
    result["diff"] = {"before": state.before, "after": "".join(f"{line}\n" for line in state.todo)}
    if module.check_mode:
        foresee(state)
        return dict(result, changed=bool(state.todo))
    return {**result, **change(module, state, toolkits)}


WANTED: dict[str, dict[str, Any]] = {
    "versions": {"type": "list", "elements": "str", "default": []},
    "default": {"default": ""},
    "source": {"choices": ["packages", "runfile"], "default": "packages"},
    "runfiles": {"type": "dict", "default": {}},
    "arch": {"default": "x86_64"},
    "runfile_packages": {"type": "list", "elements": "str", "default": []},
    "override": {"type": "bool", "default": False},
    "tmpdir": {"type": "path", "default": ""},
    "needed_bytes": {"type": "int", "default": 0},
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    **DOWNLOADS,
    "state": {"choices": ["inspected", "present", "absent", "verified"], "default": "present"},
    "wanted": {"type": "dict", "default": {}, "options": WANTED, "apply_defaults": True},
    "table": {"type": "dict", "default": {}},
    "container": {"type": "bool", "default": False},
    "driver_wanted": {"type": "str", "default": ""},
    "driver_settled": {"type": "bool", "default": True},
    "environment_file": {"type": "path", "default": ""},
    "lock_timeout": {"type": "int", "default": 600},
    "layout": {"type": "dict", "default": {}},
    "cache": {"type": "path", "default": "/var/cache/provision/cuda"},
}


def main() -> None:
    """Run as an Ansible module."""
    run(outcome, ARGUMENTS)


if __name__ == "__main__":
    main()
