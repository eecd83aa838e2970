# SPDX-License-Identifier: Apache-2.0
"""Bring about, verify and remove the models that Ollama keeps on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ollama_models
short_description: Keep verified models in the directory of an Ollama
description:
  - V(present) pulls or creates what a service needs and no more, as the transient unit
    C(provision-job-ollama-<service>), with a private Ollama that a running service does not notice.
  - V(verified) hashes every blob of the service's models. The task waits until either has ended.
  - V(absent) removes models that provision made and no service names any more; others stay.
options:
  state: {type: str, choices: [present, absent, verified], required: true, description: What to do.}
  service: {type: dict, description: The service's words about its models; V(absent) takes O(services).}
  services: {type: list, elements: dict, default: [], description: Every Ollama service of the host.}
  gguf: {type: str, default: "", description: GGUF file of the service's own model.}
  modelfiles: {type: dict, default: {}, description: Text of each Modelfile by the path that words name.}
  user: {type: str, default: ollama, description: User of the engine.}
  binary: {type: path, description: The ollama to bring models with.}
  registry: {type: str, default: "https://registry.ollama.ai", description: Registry or mirror.}
  environment: {type: dict, default: {}, description: Proxies of pulls.}
  attempts: {type: int, default: 5, description: Failures in a row that end a pull.}
  stall_seconds: {type: int, default: 90, description: Silence after which a pull is begun again.}
  reserve_bytes: {type: int, default: 1073741824, description: Disk space to leave free.}
  serving: {type: list, elements: str, default: [], description: Addresses of the host's running Ollamas.}
  poll: {type: int, default: 5, description: Longest time to wait in one call.}
  timeout: {type: int, default: 14400, description: Longest time in seconds that the task waits.}
  run: {type: str, default: "", description: A name for this run; V(verified) hashes once in a run.}
  consent: {type: bool, default: false, description: Whether models may be removed.}
  programs: {type: path, default: /usr/local/lib/provision, description: Where the program lies.}
  runtime: {type: path, default: /run/provision, description: Where jobs get their orders.}
author: [The provision developers]
"""

EXAMPLES = r"""
- name: Bring the models about
  ollama_models:
    state: present
    service: "{{ service }}"
    binary: /opt/provision/archives/ollama/0.33.0-72c4b9d91c31/bin/ollama
"""

RETURN = r"""
finished: {type: bool, returned: always, description: Whether there is nothing left to wait for.}
name: {type: str, returned: present and verified, description: The service's own model as Ollama lists it.}
preload: {type: list, elements: str, returned: present, description: Further models to load at the start.}
models: {type: list, elements: str, returned: when present and finished, description: Models that changed.}
repaired: {type: list, elements: str, returned: when present and finished, description: Wrong blobs.}
removed: {type: list, elements: str, returned: absent, description: Models that were removed.}
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.engine_ollama.main import install
from ansible.module_utils.engine_ollama.record import read_record, records, write_record
from ansible.module_utils.engine_ollama.steps import differs, diffs, doubted, keep, prepare, unload
from ansible.module_utils.engine_ollama.unit import OllamaJob, limits, make_root
from ansible.module_utils.engine_ollama.wanted import (
    main_name,
    names,
    preloaded,
    refuse_contradictions,
    wanted,
)
from ansible.module_utils.provision.engine import files
from ansible.module_utils.provision.host import managed
from ansible.module_utils.provision.host.entry import run_module
from ansible.module_utils.provision.host.fault import ConsentNeeded, Fault

GROUPS = ["provision"]
PRUNE_UNIT = "provision-job-ollama-prune"
PRUNE_SECONDS = 300
NO_CONSENT = "run again with --yes, or answer the question, to allow the removal"
APPLY = "run `provision apply`: it brings again what is wrong, and nothing else"


def job_of(params: dict[str, Any], unit: str) -> OllamaJob:
    """Return the job of one service."""
    return OllamaJob(f"provision-job-ollama-{managed.stem(unit)}", params["user"], params)


def present(module: AnsibleModule) -> dict[str, Any]:
    """Bring one service's models about as far as one call can."""
    params = module.params
    service, root = params["service"], params["service"]["engine_ollama_models_dir"]
    refuse_contradictions(service, params["services"])
    record = read_record(root)
    models = wanted(service, params["gguf"], params["modelfiles"])
    doubts = doubted(models, record)
    job = job_of(params, service["unit"])
    result = {"changed": bool(doubts), "finished": True, "models": sorted(doubts), "repaired": []}
    result.update(name=main_name(service), preload=preloaded(service))
    result["diff"] = diffs(models, doubts, record)
    if module.check_mode or not (doubts or job.running):
        return result
    if not files.user_is_right(params["user"], GROUPS):
        files.make_user(params["user"], GROUPS)
    make_root(Path(root), params["user"])
    orders = job.orders() if job.running else prepare(params, models, set(doubts), record)
    told = job.advance(lambda: install(Path(params["programs"])), "bring", orders, orders["limits"])
    if told is None:
        return dict(job.progress())
    after = keep(orders, told, root)
    if told["repaired"]:
        unload(params["serving"], told["models"])
        result["provision"] = {"warning": [f"replaced: {text}" for text in told["repaired"]]}
    left = doubted(models, after)
    if left:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left.items())
        raise Fault(f"what was brought did not last: {reasons}", "something else writes there: apply again")
    moved = [name for name, made in told["models"].items() if differs(record["models"].get(name, {}), made)]
    return dict(
        result, changed=bool(moved or told["repaired"]), models=sorted(moved), repaired=told["repaired"]
    )


def verified(module: AnsibleModule) -> dict[str, Any]:
    """Hash every blob of one service's models as far as one call can."""
    params, service = module.params, module.params["service"]
    root, asked = service["engine_ollama_models_dir"], names(service)
    if module.check_mode:
        return finish(module, rung(service, "not applicable", f"{root}: not read in check mode"))
    if not Path(root).is_dir():
        return finish(module, rung(service, "failed", f"{root} is not there"))
    job = job_of(params, service["unit"])
    told: dict[str, Any] = job.told()
    if told.get("state") != "done" or told.get("run") != params["run"]:
        orders = {"title": f"Hash the models of {service['unit']}", "root": root}
        orders.update(names=asked, run=params["run"])
        program = Path(params["programs"])
        told = job.advance(lambda: install(program), "verify", orders, limits(root, [], linked=False)) or {}
    if told.get("run") != params["run"]:
        return dict(job.progress())
    forget(root, told)
    problems = [text for texts in told["results"].values() for text in texts or ()]
    problems += [f"{name} is not in {root}" for name, texts in told["results"].items() if texts is None]
    if problems:
        return finish(module, rung(service, "failed", "; ".join(dict.fromkeys(problems))))
    size = sum(told["sizes"].values()) / 1e9
    evidence = (
        f"{', '.join(asked)}: {len(told['sizes'])} blobs, {size:.2f} GB, sha256 of each as its name says"
    )
    return finish(module, rung(service, "passed", evidence))


def forget(root: str, told: dict[str, Any]) -> None:
    """Take the stamp from blobs that are wrong, so that apply reads them again."""
    record = read_record(root)
    wrong = [digest for digest in told["sizes"] if digest not in told["stamps"]]
    if any(record["stamps"].pop(digest, None) for digest in wrong):
        write_record(record)


def rung(service: dict[str, Any], status: str, evidence: str) -> dict[str, Any]:
    """Return what the files rung says of the service."""
    step = APPLY if status == "failed" else None
    return {
        "service": service["serve_name"],
        "rung": "files",
        "status": status,
        "evidence": evidence,
        "next": step,
    }


def finish(module: AnsibleModule, found: dict[str, Any]) -> dict[str, Any]:
    """Fail with what is wrong, or return that nothing is."""
    name = main_name(module.params["service"])
    if found["status"] == "failed":
        provision = {"rungs": [found], "next": APPLY}
        module.fail_json(msg=found["evidence"], finished=True, provision=provision, name=name)
    return {"changed": False, "finished": True, "provision": {"rungs": [found]}, "name": name}


def pruned(module: AnsibleModule) -> dict[str, Any]:
    """Remove models of ours that no service of the host names."""
    named: dict[str, set[str]] = {}
    for service in module.params["services"]:
        named.setdefault(service["engine_ollama_models_dir"], set()).update(names(service))
    ours: dict[str, list[str]] = {}
    gone: dict[str, list[str]] = {}
    for record in records():
        root, models = record["root"], record["models"]
        gone[root] = sorted(set(models) - named.get(root, set()))
        ours[root] = [name for name in gone[root] if models[name].get("made")]
    listed = [f"remove {name} from {root}, which no service names" for root, n in ours.items() for name in n]
    result: dict[str, Any] = {"changed": bool(listed), "finished": True}
    result["removed"] = [name for found in ours.values() for name in found]
    if listed and not module.params["consent"]:
        fault = ConsentNeeded(listed, NO_CONSENT)
        if not module.check_mode:
            raise fault
        return dict(result, provision=fault.provision)
    if not module.check_mode:
        for root, found in gone.items():
            take_away(module.params, root, found, ours[root])
    return result


def take_away(params: dict[str, Any], root: str, found: list[str], ours: list[str]) -> None:
    """Remove the models that were made here, and forget those that were not."""
    if not found:
        return
    record = read_record(root)
    entries = [record["models"].pop(name) for name in found]
    bases = {entry["base"] for entry in entries if entry.get("base")}
    bases -= {entry.get("base") for entry in record["models"].values()}
    if (ours or bases) and Path(root).is_dir():
        orders = {"title": f"Remove models from {root}", "root": root, "names": [*ours, *sorted(bases)]}
        job = OllamaJob(PRUNE_UNIT, params["user"], {**params, "poll": PRUNE_SECONDS})
        program = Path(params["programs"])
        told = job.advance(lambda: install(program), "prune", orders, limits(root, [], linked=False)) or {}
        for digest in told.get("removed", ()):
            record["stamps"].pop(digest, None)
    write_record(record)


ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"choices": ["present", "absent", "verified"], "required": True},
    "service": {"type": "dict"},
    "services": {"type": "list", "elements": "dict", "default": []},
    "gguf": {"default": ""},
    "modelfiles": {"type": "dict", "default": {}},
    "user": {"default": "ollama"},
    "binary": {"type": "path"},
    "registry": {"default": "https://registry.ollama.ai"},
    "environment": {"type": "dict", "default": {}},
    "attempts": {"type": "int", "default": 5},
    "stall_seconds": {"type": "int", "default": 90},
    "reserve_bytes": {"type": "int", "default": 1073741824},
    "serving": {"type": "list", "elements": "str", "default": []},
    "poll": {"type": "int", "default": 5},
    "timeout": {"type": "int", "default": 14400},
    "run": {"default": ""},
    "consent": {"type": "bool", "default": False},
    "programs": {"type": "path", "default": "/usr/local/lib/provision"},
    "runtime": {"type": "path", "default": "/run/provision"},
}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_if=[("state", "present", ["service", "binary"]), ("state", "verified", ["service"])],
        supports_check_mode=True,
    )
    verbs = {"present": present, "verified": verified, "absent": pruned}
    run_module(module, lambda: verbs[module.params["state"]](module))


if __name__ == "__main__":
    main()
