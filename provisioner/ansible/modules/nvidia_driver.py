# SPDX-License-Identifier: Apache-2.0
"""Decide about a host's NVIDIA driver, change it as a transient unit, and prove that it is installed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.driver import hold
from ansible.module_utils.provision.driver.decision import (
    CONSENT,
    KEEP,
    NO_REBOOT,
    Decision,
    Seen,
    Wanted,
    decide,
)
from ansible.module_utils.provision.driver.look import fabric, look
from ansible.module_utils.provision.driver.orders import INSTALL, REMOVE, Orders
from ansible.module_utils.provision.driver.outcome import job_of, report, unreported
from ansible.module_utils.provision.driver.packages import RUNFILE
from ansible.module_utils.provision.driver.record import RECORD
from ansible.module_utils.provision.driver.transaction import driver_manager
from ansible.module_utils.provision.gpu.pci import own_gpus
from ansible.module_utils.provision.host.entry import require_consent, run
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.files import read_json
from ansible.module_utils.provision.jobs.job import Job

LIMITS: dict[str, object] = {"RuntimeMaxSec": 7200, "UMask": "0022", "NoNewPrivileges": False, "Nice": 0}
FOUND = ("system", "running", "booting", "serving", "secure_boot")
PASSED_ON = ("vault", "runfile_sha256", "hold", "lock_timeout", "stop_seconds", "attempts", "stall_seconds")


def asked_of(params: dict[str, Any]) -> dict[str, Any]:
    """Return what the inventory requests."""
    return {name: params[name] for name in ("source", "version", "modules", "reboot", "default_branch")}


def result_of(decision: Decision, seen: Seen) -> dict[str, Any]:
    """Return what was decided, as tasks read it."""
    target = asdict(decision.target)
    driver = {"installed": seen.installed.version, "loaded": seen.loaded, "target": target}
    return {
        "changed": False,
        "finished": True,
        "action": decision.action,
        "why": list(decision.why),
        "target": target,
        "version": seen.installed.version,
        "reboot": "",
        # A working driver that someone else has installed keeps its own sources.
        "ours": RECORD.exists(),
        "provision": {"driver": driver},
    }


def plan(module: AnsibleModule) -> tuple[Seen, Decision, dict[str, Any]]:
    """Inspect the host, decide, and ask for the consent that is needed; refuses what cannot work."""
    seen = look()
    decision = decide(Wanted(**asked_of(module.params)), seen)
    expected, found = module.params["gpus_expected"], len(own_gpus(seen.devices))
    if expected and found != expected:
        raise Fault(
            f"the PCI bus shows {found} of the {expected} GPUs that nvidia_driver_gpus_expected requires",
            "check `lspci -nn -d 10de:`; a GPU that fell off the bus needs a power cycle",
        )
    result = result_of(decision, seen)
    result["provision"].update(require_consent(module, list(decision.consent)))
    return seen, decision, result


def inspected(module: AnsibleModule) -> dict[str, Any]:
    """Return what would be done."""
    job = job_of(module.params)
    return running(job) if job.running else plan(module)[2]


def running(job: Job) -> dict[str, Any]:
    """Return the plan while a change is under way, during which inspecting the host makes no sense."""
    orders = job.orders()
    if orders.get("verb") == REMOVE:
        raise Fault(
            "an earlier run is removing the driver of this host",
            f"wait until it has ended (`systemctl status {job.unit}` on the host), then apply again",
        )
    result = {"changed": False, "finished": True, "action": "running", "why": ["the driver is being changed"]}
    target = {name: orders.get(name, "") for name in ("source", "version", "modules")}
    return {**result, "target": target, "version": None, "reboot": "", "ours": RECORD.exists()}


def present(module: AnsibleModule) -> dict[str, Any]:
    """Install the driver as far as one call can."""
    params, job = module.params, job_of(module.params)
    # During a change, even a dry run waits for its outcome.
    if job.running or not module.check_mode:
        earlier = unreported(job, INSTALL, asked_of(params), module.warn)
        if earlier is not None:
            return earlier
    seen, decision, result = plan(module)
    if decision.action == KEEP:
        return keep(module, result)
    target = decision.target
    what = f"driver {target.version} of {target.source}, {target.modules} modules"
    before = f"driver {seen.installed.version}\n" if seen.installed.version else ""
    result.update(changed=True, diff={"before": before, "after": f"{what}\n"})
    if module.check_mode:
        return result
    joined, more = fabric(seen.devices)
    orders = orders_of(
        params,
        seen,
        verb=INSTALL,
        title=f"driver {target.version}",
        asked=asked_of(params),
        action=decision.action,
        installed_version=seen.installed.version,
        installed_source=seen.installed.origin,
        fabric=joined,
        more_packages=more,
        may_reboot=params["reboot"] not in NO_REBOOT,
        reboot_step=NO_REBOOT.get(params["reboot"], ("", ""))[1],
        **asdict(target),
    )
    return follow(module, job, orders, result)


def keep(module: AnsibleModule, result: dict[str, Any]) -> dict[str, Any]:
    """Keep a driver that is right, and correct its holds."""
    packages, wants_hold = driver_manager(), module.params["hold"]
    drift = hold.drift(packages, result["version"], wants_hold=wants_hold)
    if drift:
        result.update(changed=True, diff={"before": "", "after": "".join(f"{line}\n" for line in drift)})
    if drift and not module.check_mode:
        hold.prepare(packages)
        (hold.hold if wants_hold else hold.release)(packages)
    return result


def orders_of(params: dict[str, Any], seen: Seen, **more: Any) -> Orders:
    """Return the orders of a job, with what was found on the host and what the inventory allows."""
    found = {name: getattr(seen, name) for name in FOUND}
    return Orders(**found, **{name: params[name] for name in PASSED_ON}, **more)


def follow(module: AnsibleModule, job: Job, orders: Orders, result: dict[str, Any]) -> dict[str, Any]:
    """Start the unit or attach to it, and return its outcome or its progress."""
    ended = job.advance(orders.verb, orders, LIMITS)
    return job.progress() if ended is None else {**result, **report(ended, module.warn)}


def absent(module: AnsibleModule) -> dict[str, Any]:
    """Remove the driver that provision installed; one that someone else installed stays."""
    job = job_of(module.params)
    earlier = None if module.check_mode else unreported(job, REMOVE, {}, module.warn)
    if earlier is not None:
        return earlier
    record = read_json(RECORD, None)
    if record is None:
        # A driver that someone else installed stays, but our holds on it do not.
        changed = hold.LEDGER.exists()
        if changed and not module.check_mode:
            hold.release(driver_manager())
        return {"changed": changed, "finished": True}
    if module.check_mode:
        diff = {"before": f"driver {record['version']} of {record['source']}\n", "after": ""}
        return {"changed": True, "finished": True, "diff": diff}
    seen = look()
    stop = f"stop {', '.join(seen.serving)}, and " if seen.serving else ""
    changes = [f"{stop}remove driver {record['version']}"] if seen.loaded else []
    require_consent(module, changes)
    about = {"verb": REMOVE, "title": "removing the driver", "source": record["source"]}
    orders = orders_of(module.params, seen, **about)
    return follow(module, job, orders, {})


STATES = {"inspected": inspected, "present": present, "absent": absent}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"choices": list(STATES), "default": "present"},
    "source": {"choices": ["auto", "nvidia", "distribution", RUNFILE], "default": "auto"},
    "version": {"type": "str", "default": ""},
    "default_branch": {"type": "str", "default": "580"},
    "modules": {"choices": ["auto", "open", "proprietary"], "default": "auto"},
    "reboot": {"choices": [CONSENT, *NO_REBOOT], "default": CONSENT},
    "consent": {"type": "bool", "default": False},
    "hold": {"type": "bool", "default": True},
    "vault": {"type": "str", "default": ""},
    "runfile_sha256": {"type": "str", "default": ""},
    "environment_file": {"type": "path"},
    "gpus_expected": {"type": "int", "default": 0},
    "lock_timeout": {"type": "int", "default": 600},
    "stop_seconds": {"type": "int", "default": 180},
    "attempts": {"type": "int", "default": 5},
    "stall_seconds": {"type": "int", "default": 60},
    "poll": {"type": "int", "default": 10},
    "timeout": {"type": "int", "default": 14400},
}


def main() -> None:
    """Run as an Ansible module."""
    run(lambda module: STATES[module.params["state"]](module), ARGUMENTS)


if __name__ == "__main__":
    main()
