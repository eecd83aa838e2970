# SPDX-License-Identifier: Apache-2.0
"""Inspect, install and remove Pythons of conda on a host."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.host.entry import removal, run
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.jobs.job import DOWNLOADS, Job
from ansible.module_utils.provision.jobs.sandbox import labels, sandbox
from ansible.module_utils.provision.python.conda_install import PROGRAM, Orders
from ansible.module_utils.provision.python.conda_place import Wanted, doubt, origins, remember, remove, unused

UNIT = "provision-job-conda"
SECONDS = 7200


def job_of(params: dict[str, Any]) -> Job:
    """Return the job that installs Pythons, one at a time."""
    return Job(UNIT, PROGRAM, params)


def limits(params: dict[str, Any], wanted: Wanted) -> dict[str, object]:
    """Return what systemd must know about the unit."""
    # A configured prefix may be where the sandbox allows no writing.
    place = str(wanted.prefix.parent) if params["prefix"] else params["root"]
    kept: dict[str, object] = sandbox({**params, "root": place})
    if place != params["root"]:
        kept["ReadWritePaths"] = f"{kept['ReadWritePaths']} {params['root']}"
    # An installer may have been put into the host's /tmp.
    kept.update(UMask="0022", RuntimeMaxSec=SECONDS, PrivateTmp=False)
    return {**kept, **labels(wanted.prefix)}


def create(params: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
    """Install the Python, as far as one call can."""
    for path in (Path(params["root"]), Path(params["cache"]), wanted.prefix.parent):
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    if params["prefix"]:
        remember(Path(params["registry"]), wanted.prefix)
    job, interpreter = job_of(params), str(wanted.interpreter)
    title = f"Python {wanted.python} of {wanted}"
    orders = Orders.read({**params, **asdict(wanted), "title": title})
    if not job.answer("interpreter", "install", orders, limits(params, wanted)):
        return job.progress(changed=job.orders().get("interpreter") == interpreter)
    why = doubt(wanted)
    if why:
        raise Fault(f"{interpreter} was installed, but {why}", "another program writes there: apply again")
    return {"changed": True, "finished": True, "present": True}


def prune(module: AnsibleModule) -> dict[str, Any]:
    """Remove what nothing uses, and return what it was."""
    params = module.params
    root, environments = Path(params["root"]), Path(params["environments"])
    rubbish = []
    if root.is_dir() and not job_of(params).running:
        needed = origins(environments, params["leaving"]) | set(params["keep"])
        rubbish = unused(root, Path(params["registry"]), needed)
    if not module.check_mode:
        for path in rubbish:
            remove(path)
    return removal(rubbish)


def outcome(module: AnsibleModule) -> dict[str, Any]:
    """Return the result of one call."""
    if module.params["state"] == "absent":
        return prune(module)
    params = {**module.params, **module.params["wanted"]}
    wanted = Wanted.of(params)
    why = doubt(wanted)
    result: dict[str, Any] = {
        "changed": False,
        "finished": True,
        "present": not why,
        "prefix": str(wanted.prefix),
        "interpreter": str(wanted.interpreter),
    }
    # A unit that is still at work has something left to do after its last note.
    if params["state"] == "inspected" or not (why or job_of(params).running):
        return result
    result["diff"] = {"before": f"{why}\n" if why else "", "after": f"{wanted.interpreter}: {wanted}\n"}
    if module.check_mode:
        return dict(result, changed=bool(why))
    return {**result, **create(params, wanted)}


WANTED: dict[str, dict[str, Any]] = {
    "provider": {"default": ""},
    "version": {"default": ""},
    "sha256": {"default": ""},
    "python": {"default": ""},
    "packages": {"type": "list", "elements": "str", "default": []},
    "channels": {"type": "list", "elements": "str", "default": []},
    "channel_alias": {"default": ""},
    "custom_channels": {"type": "dict", "default": {}},
    "default_channels": {"type": "list", "elements": "str", "default": []},
    "ca_bundle": {"type": "path", "default": ""},
    "accept_terms": {"type": "bool", "default": False},
    "prefix": {"type": "path", "default": ""},
    "needed_bytes": {"type": "int", "default": 0},
    "python_bytes": {"type": "int", "default": 0},
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    **DOWNLOADS,
    "state": {"choices": ["inspected", "present", "absent"], "default": "present"},
    "wanted": {"type": "dict", "default": {}, "options": WANTED},
    "leaving": {"type": "list", "elements": "path", "default": []},
    "keep": {"type": "list", "elements": "path", "default": []},
    "root": {"type": "path", "default": "/opt/provision/conda"},
    "cache": {"type": "path", "default": "/var/cache/provision/conda"},
    "environments": {"type": "path", "default": "/opt/provision/envs"},
    "registry": {"type": "path", "default": "/var/lib/provision/conda.json"},
}


def main() -> None:
    """Run as an Ansible module."""
    run(outcome, ARGUMENTS)


if __name__ == "__main__":
    main()
