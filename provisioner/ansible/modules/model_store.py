# SPDX-License-Identifier: Apache-2.0
"""Observe, fetch, verify and remove the models of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: model_store
short_description: Keep verified models in a directory of the host
description:
  - V(inspected) compares directories with their manifests without reading files and lists what is missing.
  - V(present) brings one model about as the transient unit C(provision-job-model-<digest>); V(verified)
    hashes all models as C(provision-job-model-verify). Both survive a lost connection. The task
    waits until they have ended.
  - V(absent) ends these units and removes the store's programs and tokens, and with O(purge) its models.
options:
  state:
    type: str
    choices: [inspected, present, absent, verified]
    required: true
    description: What to do.
  models: {type: list, elements: dict, default: [], description: What provision_services lists.}
  model: {type: dict, description: The one model to bring about.}
  root: {type: path, default: /var/lib/provision/models, description: The store.}
  endpoint: {type: str, default: "", description: Address of the model's hub.}
  token_file: {type: str, default: "", description: File on the host with the hub's token.}
  client_python: {type: path, description: Python of the environment that holds the hubs' clients.}
  environment_file: {type: path, description: systemd environment file with proxies and CA bundle.}
  workers: {type: int, default: 4, description: Files fetched at a time.}
  streams: {type: int, default: 4, description: Parts of one large file fetched at a time.}
  attempts: {type: int, default: 5, description: Rounds in a row that may bring nothing.}
  stall_seconds: {type: int, default: 60, description: Silence after which a connection counts as dead.}
  reserve_bytes: {type: int, default: 1073741824, description: Disk space to leave free.}
  poll: {type: int, default: 5, description: Longest time to wait in one call.}
  timeout: {type: int, default: 14400, description: Longest time in seconds that the task waits.}
  run: {type: str, default: "", description: A name for this run; V(verified) hashes once in a run.}
  purge: {type: bool, default: false, description: Remove the models as well.}
  programs: {type: path, default: /usr/local/lib/provision, description: Where the store's program lies.}
  runtime: {type: path, default: /run/provision, description: Where jobs tell their state.}
  cache: {type: path, default: /var/cache/provision/model_store, description: Where the clients keep notes.}
  settings: {type: path, default: /etc/provision, description: Where tokens and the environment file lie.}
author: [The provision developers]
"""

EXAMPLES = r"""
- name: Look at the models
  model_store: {state: inspected, models: "{{ ansible_facts.provision_models }}"}
  register: look

- name: Fetch a model
  model_store: {state: present, model: "{{ look.missing[0] }}", endpoint: https://huggingface.co}
"""

RETURN = r"""
finished: {type: bool, returned: always, description: Whether there is nothing left to wait for.}
missing: {type: list, returned: when inspected, description: Models to bring about, each with its reason.}
fetched: {type: list, returned: when present and finished, description: Files that came from the hub.}
"""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.host.entry import run_module
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.jobs.job import Job
from ansible.module_utils.provision.jobs.sandbox import sandbox
from ansible.module_utils.provision.models.fetch import make_root
from ansible.module_utils.provision.models.files import Wanted, doubt, read_manifest
from ansible.module_utils.provision.models.main import install
from ansible.module_utils.provision.models.path import check_path
from ansible.module_utils.provision.models.remove import remove

HUBS = ("huggingface", "modelscope")
VERIFY_UNIT = "provision-job-model-verify"
PASSED_ON = ("endpoint", "token_file", "client_python", "workers", "streams", "attempts", "stall_seconds")


def unit_of(directory: str) -> str:
    """Return the unit that brings a directory about."""
    return f"provision-job-model-{hashlib.sha256(directory.encode()).hexdigest()[:10]}"


def observe(models: list[dict[str, Any]]) -> dict[str, Any]:
    """List the models that are not there as wanted."""
    missing = []
    for model in models:
        if model["source"] == "path":
            check_path(model)
        elif model["source"] in HUBS:
            reason = doubt(Path(model["directory"]), Wanted.of(model))
            if reason:
                missing.append(dict(model, reason=reason))
    return {"changed": False, "finished": True, "missing": missing}


def job_of(params: dict[str, Any], unit: str) -> Job:
    """Return the job that a unit does for the store."""
    return Job(unit, Path(params["runtime"]), params["poll"], params["environment_file"])


def fetch(module: AnsibleModule) -> dict[str, Any]:
    """Bring one model about as far as one call can."""
    model = module.params["model"]
    wanted, directory = Wanted.of(model), model["directory"]
    why = doubt(Path(directory), wanted)
    result: dict[str, Any] = {"changed": True, "finished": True}
    result["diff"] = {
        "before": f"{directory}: {why}\n",
        "after": f"{directory}: {wanted} from {wanted.source}\n",
    }
    if module.check_mode:
        return dict(result, msg=f"would fetch {wanted} from {module.params['endpoint']} into {directory}")
    job = job_of(module.params, unit_of(directory))
    told: dict[str, Any] | None
    if not why and not job.running:
        told = job.told()
    else:
        spec = {**model, **{key: module.params[key] for key in PASSED_ON}}
        spec.update({key: module.params[key] for key in ("root", "reserve_bytes", "cache")})
        title = f"Fetch {wanted} into {directory}"
        make_root(Path(spec["root"]))
        program = partial(install, Path(module.params["programs"]))
        told = job.advance(program, "fetch", {**spec, "title": title}, sandbox(module.params))
        if told is None:
            return dict(job.progress())
    why = doubt(Path(directory), wanted)
    if why:
        raise Fault(f"{directory} was brought about, yet {why}", "something else writes there: apply again")
    return dict(result, changed=bool(told.get("changed")), fetched=told.get("fetched", []))


def verify(module: AnsibleModule) -> dict[str, Any]:
    """Hash every model of the host as far as one call can."""
    # Models of other sources are the engines' own, and so is what there is to say of their files.
    models = [model for model in module.params["models"] if model["source"] in (*HUBS, "path")]
    held = sorted({m["directory"] for m in models if read_manifest(Path(m["directory"]))})
    results: dict[str, Any] = {}
    if held and not module.check_mode:
        job = job_of(module.params, VERIFY_UNIT)
        told: dict[str, Any] | None = job.told()
        if told is None or told.get("state") != "done" or told.get("run") != module.params["run"]:
            orders = {"directories": held, "run": module.params["run"], "title": "Hash the models"}
            told = job.advance(partial(install, Path(module.params["programs"])), "verify", orders, {})
        if told is None or told.get("run") != module.params["run"]:
            # What another run's job has read says nothing of this one: the next call starts one of its own.
            return dict(job.progress())
        results = told["results"]
    rungs = [rung(model, name, results, module.check_mode) for model in models for name in model["services"]]
    failed = [one for one in rungs if one["status"] == "failed"]
    if failed and not module.check_mode:
        evidence = "; ".join(dict.fromkeys(one["evidence"] for one in failed))
        module.fail_json(msg=evidence, finished=True, provision={"rungs": rungs, "next": failed[0]["next"]})
    return {"changed": False, "finished": True, "provision": {"rungs": rungs}}


def rung(model: dict[str, Any], service: str, results: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Return what the files rung says of one service."""
    directory = Path(model["directory"])
    found = results.get(str(directory))
    if found is None and model["source"] in HUBS:
        why = doubt(directory, Wanted.of(model)) or ("" if check_mode else "its files were not hashed")
        evidence = f"{directory}: {why or 'unchanged since its hashes were right; not read in check mode'}"
        found = {"status": "failed" if why else "passed", "evidence": evidence, "next": None}
        if why:
            found["next"] = "run `provision apply`: it fetches what is missing"
    if found is None:
        evidence = f"{directory} has no manifest: this store did not fetch it"
        found = {"status": "not applicable", "evidence": evidence, "next": None}
    return {"service": service, "rung": "files", **found}


STATES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "inspected": lambda module: observe(module.params["models"]),
    "present": fetch,
    "verified": verify,
    "absent": remove,
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"choices": list(STATES), "required": True},
    "models": {"type": "list", "elements": "dict", "default": []},
    "model": {"type": "dict"},
    "root": {"type": "path", "default": "/var/lib/provision/models"},
    "endpoint": {"default": ""},
    "token_file": {"default": "", "no_log": False},
    "client_python": {"type": "path"},
    "environment_file": {"type": "path"},
    "workers": {"type": "int", "default": 4},
    "streams": {"type": "int", "default": 4},
    "attempts": {"type": "int", "default": 5},
    "stall_seconds": {"type": "int", "default": 60},
    "reserve_bytes": {"type": "int", "default": 1073741824},
    "poll": {"type": "int", "default": 5},
    "timeout": {"type": "int", "default": 14400},
    "run": {"default": ""},
    "purge": {"type": "bool", "default": False},
    "programs": {"type": "path", "default": "/usr/local/lib/provision"},
    "runtime": {"type": "path", "default": "/run/provision"},
    "cache": {"type": "path", "default": "/var/cache/provision/model_store"},
    "settings": {"type": "path", "default": "/etc/provision"},
}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS, required_if=[("state", "present", ["model"])], supports_check_mode=True
    )
    run_module(module, lambda: STATES[module.params["state"]](module))


if __name__ == "__main__":
    main()
