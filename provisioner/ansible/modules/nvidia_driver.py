# SPDX-License-Identifier: Apache-2.0
"""Decide about a host's NVIDIA driver, change it as a transient unit, and show that it is there."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nvidia_driver
short_description: Bring an NVIDIA driver about, or take it away
description:
  - V(inspected) looks, decides and refuses what cannot work; it changes nothing. C(present) does what was
    decided as the unit C(provision-job-driver), which survives a lost connection. The task
    waits until it has ended.
  - What ends running work (a reload of the driver, a reboot, the removal of a driver of another source) needs
    I(consent), and is named.
  - The package manager's word is no proof. A driver counts as installed when the kernel that boots next has
    its module, of the right version and kind; else the packages are taken back.
options:
  state: {type: str, choices: [inspected, present, absent], default: present, description: What to do.}
  source:
    type: str
    choices: [auto, nvidia, distribution, runfile]
    default: auto
    description: Where the driver comes from; V(auto) is the source of the one that is there, else V(nvidia).
  version: {type: str, default: '', description: Branch or version; empty keeps a driver that works.}
  default_branch: {type: str, default: '580', description: Branch where there is no driver.}
  modules: {type: str, choices: [auto, open, proprietary], default: auto, description: Their kind.}
  reboot: {type: str, choices: [consent, never], default: consent, description: Whether a reboot may follow.}
  consent: {type: bool, default: false, description: Whether running work may be ended.}
  hold: {type: bool, default: true, description: Hold driver and kernel at their versions.}
  vault: {type: str, default: '', description: Archive of older headers.}
  runfile_sha256: {type: str, default: '', description: Hash of the .run installer.}
  environment_file: {type: path, description: Where the unit finds the address of the .run installer.}
  gpus_expected: {type: int, default: 0, description: GPUs that the host must have; 0 for what the bus shows.}
  lock_timeout: {type: int, default: 600, description: Longest time in seconds to wait for a lock.}
  stop_seconds: {type: int, default: 180, description: Longest time in seconds for a service to stop.}
  attempts: {type: int, default: 5, description: Attempts in a row of a download that bring nothing.}
  stall_seconds: {type: int, default: 60, description: Seconds without a byte after which a download is dead.}
  poll: {type: int, default: 10, description: Longest time in seconds to wait in one call.}
  timeout: {type: int, default: 14400, description: Longest time in seconds that the task waits.}
author: [The provision developers]
"""

EXAMPLES = r"""
- name: Bring the driver about
  nvidia_driver:
    version: "580"
    consent: true
"""

RETURN = r"""
finished: {type: bool, returned: always, description: Whether there is nothing left to wait for.}
action: {type: str, returned: always, description: What was decided.}
why: {type: list, returned: always, description: The reasons.}
reboot: {type: str, returned: when present, description: Why a reboot is needed; empty when it is not.}
version: {type: str, returned: when present, description: The driver's version.}
ours: {type: bool, returned: always, description: Whether this driver was brought by provision.}
target: {type: dict, returned: unless refused, description: Source, version or branch, and kind of modules.}
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.driver import hold
from ansible.module_utils.provision.driver.decision import KEEP, NEVER, Decision, Seen, Wanted, decide
from ansible.module_utils.provision.driver.look import fabric, look
from ansible.module_utils.provision.driver.main import install
from ansible.module_utils.provision.driver.outcome import INSTALL, REMOVE, job_of, report, tell
from ansible.module_utils.provision.driver.packages import RUNFILE
from ansible.module_utils.provision.driver.record import RECORD
from ansible.module_utils.provision.gpu.pci import own_gpus
from ansible.module_utils.provision.host.entry import run_module
from ansible.module_utils.provision.host.fault import NO_CONSENT, Fault
from ansible.module_utils.provision.host.json_files import read_json
from ansible.module_utils.provision.jobs.job import Job

PROGRAMS = Path("/usr/local/lib/provision")
SECONDS = 7200
PASSED_ON = ("vault", "runfile_sha256", "hold", "lock_timeout", "stop_seconds", "attempts", "stall_seconds")


def asked_of(params: dict[str, Any]) -> dict[str, Any]:
    """Return what the inventory asks for."""
    return {word: params[word] for word in ("source", "version", "modules", "reboot", "default_branch")}


def decided(module: AnsibleModule, seen: Seen) -> Decision:
    """Return what has to be done; refuses what cannot be."""
    given = module.params
    decision: Decision = decide(Wanted(**asked_of(given)), seen)
    if decision.refusal:
        module.fail_json(msg=decision.refusal, finished=True, provision={"next": decision.next_step})
    expected, there = given["gpus_expected"], len(own_gpus(seen.devices))
    if expected and there != expected:
        module.fail_json(
            msg=f"the PCI bus shows {there} of the {expected} GPUs that nvidia_driver_gpus_expected asks for",
            finished=True,
            provision={"next": "see `lspci -nn -d 10de:`; a GPU that fell off the bus needs a power cycle"},
        )
    return decision


def result_of(decision: Decision, seen: Seen) -> dict[str, Any]:
    """Return what was decided, as tasks read it."""
    target = asdict(decision.target) if decision.target else None
    driver = {"installed": seen.installed.version, "loaded": seen.loaded, "target": target}
    return {
        "changed": False,
        "finished": True,
        "action": decision.action,
        "why": list(decision.why),
        "target": target,
        "version": seen.installed.version,
        "reboot": "",
        # What somebody else has installed, and works, keeps its own sources.
        "ours": RECORD.exists(),
        "provision": {"driver": driver},
    }


def plan(module: AnsibleModule) -> None:
    """Look, decide, and ask for what somebody has to agree to."""
    job = job_of(module.params)
    if job.running:
        # What is seen in the middle of a change means nothing; whoever asks next joins it.
        orders_of_it = job.orders()
        if orders_of_it.get("verb") == REMOVE:
            raise Fault(
                "an earlier run is removing the driver of this host",
                f"wait until it has ended (`systemctl status {job.unit}` on the host), then apply again",
            )
        target = {word: orders_of_it.get(word, "") for word in ("source", "version", "modules")}
        running = {"action": "running", "why": ["a change of the driver is under way"], "target": target}
        module.exit_json(
            changed=False, finished=True, reboot="", version=None, ours=RECORD.exists(), **running
        )
    seen = look()
    decision = decided(module, seen)
    result = result_of(decision, seen)
    ask(module, result, list(decision.consent))
    module.exit_json(**result)


def ask(module: AnsibleModule, result: dict[str, Any], needs: list[str]) -> None:
    """Refuse what nobody has allowed; a dry run only names it."""
    if not needs or module.params["consent"]:
        return
    result["provision"].update(consent=needs, next=NO_CONSENT)
    if not module.check_mode:
        module.fail_json(
            msg=f"needs consent: {'; '.join(needs)}", finished=True, provision=result["provision"]
        )


def bring(module: AnsibleModule) -> None:
    """Bring the driver about as far as one call can."""
    job = job_of(module.params)
    # What is seen in the middle of a change means nothing.
    if job.running or not module.check_mode:
        tell(module, job, INSTALL, asked_of(module.params))
    seen = look()
    decision = decided(module, seen)
    result = result_of(decision, seen)
    drift = hold.drift(seen.installed.version, hold=module.params["hold"])
    if decision.action == KEEP or decision.target is None:
        keep(module, result, drift)
        return
    what = f"driver {decision.target.version} of {decision.target.source}, {decision.target.modules} modules"
    before = f"driver {seen.installed.version}" if seen.installed.version else ""
    result.update(changed=True, diff={"before": f"{before}\n" * bool(before), "after": f"{what}\n"})
    ask(module, result, list(decision.consent))
    if module.check_mode:
        module.exit_json(**result)
    follow(module, job, orders(module.params, decision, seen), result)


def keep(module: AnsibleModule, result: dict[str, Any], drift: list[str]) -> None:
    """End with a driver that is right; what should be held and is not, is."""
    if drift:
        result.update(changed=True, diff={"before": "", "after": "".join(f"{line}\n" for line in drift)})
        if not module.check_mode:
            hold.prepare()
            (hold.hold if module.params["hold"] else hold.release)()
    module.exit_json(**result)


def orders(params: dict[str, Any], decision: Decision, seen: Seen) -> dict[str, Any]:
    """Return what the unit has to know."""
    target = decision.target
    if target is None:
        raise ValueError("a decision without a target keeps what is there, so there is nothing to order")
    joined, more = fabric(seen.devices)
    return {
        **{word: params[word] for word in PASSED_ON},
        "asked": asked_of(params),
        **asdict(target),
        "title": f"driver {target.version}",
        "action": decision.action,
        "system": asdict(seen.system),
        "running": seen.running,
        "booting": seen.booting,
        "installed_version": seen.installed.version,
        "installed_source": seen.installed.origin,
        "serving": seen.serving,
        "secure_boot": seen.secure_boot,
        "may_reboot": params["reboot"] != NEVER,
        "fabric": joined,
        "more_packages": more,
    }


def follow(module: AnsibleModule, job: Job, spec: dict[str, Any], result: dict[str, Any]) -> None:
    """Start the unit or attach to it, and end with its outcome or its progress."""
    verb = REMOVE if module.params["state"] == "absent" else INSTALL
    limits = {"RuntimeMaxSec": SECONDS, "UMask": "0022", "NoNewPrivileges": False, "Nice": 0}
    told = job.advance(partial(install, PROGRAMS), verb, {"asked": {}, **spec, "verb": verb}, limits)
    if told is None:
        module.exit_json(**job.progress())
    else:
        report(module, told, result)


def take_away(module: AnsibleModule) -> None:
    """Take away the driver that was brought here; one that somebody else installed stays."""
    job = job_of(module.params)
    if not module.check_mode:
        tell(module, job, REMOVE, {})
    record = read_json(RECORD, None)
    if record is None:
        # A driver of somebody else stays; that it was held by us ends.
        changed = hold.LEDGER.exists()
        if changed and not module.check_mode:
            hold.release()
        module.exit_json(changed=changed, finished=True)
    if module.check_mode:
        diff = {"before": f"driver {record['version']} of {record['source']}\n", "after": ""}
        module.exit_json(changed=True, finished=True, diff=diff)
    seen = look()
    held: dict[str, Any] = {"provision": {}}
    what = f"stop {', '.join(seen.serving)}, and " if seen.serving else ""
    ask(module, held, [f"{what}remove driver {record['version']}"] if seen.loaded else [])
    spec = {word: module.params[word] for word in PASSED_ON}
    spec.update(
        source=record["source"], title="removing the driver", serving=seen.serving, booting=seen.booting
    )
    follow(module, job, {**spec, "fabric": False, "may_reboot": True}, {})


STATES = {"inspected": plan, "present": bring, "absent": take_away}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"choices": list(STATES), "default": "present"},
    "source": {"choices": ["auto", "nvidia", "distribution", RUNFILE], "default": "auto"},
    "version": {"type": "str", "default": ""},
    "default_branch": {"type": "str", "default": "580"},
    "modules": {"choices": ["auto", "open", "proprietary"], "default": "auto"},
    "reboot": {"choices": ["consent", NEVER], "default": "consent"},
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
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    run_module(module, lambda: STATES[module.params["state"]](module))


if __name__ == "__main__":
    main()
