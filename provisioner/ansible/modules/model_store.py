# SPDX-License-Identifier: Apache-2.0
"""Inspect, download, verify and remove the models of a host."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Callable, Iterator

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.host.entry import removal, run
from ansible.module_utils.provision.host.fault import Fault, described
from ansible.module_utils.provision.host.owners import Owner
from ansible.module_utils.provision.host.paths import drop_empty, remove
from ansible.module_utils.provision.host.payload import FAILED, NOT_APPLICABLE, Rung
from ansible.module_utils.provision.host.reach import READERS
from ansible.module_utils.provision.host.systemd import state, stop
from ansible.module_utils.provision.jobs.job import DOWNLOADS, IDLE, Job
from ansible.module_utils.provision.jobs.sandbox import sandbox
from ansible.module_utils.provision.models.check import glance
from ansible.module_utils.provision.models.fetch import PROGRAM, make_root
from ansible.module_utils.provision.models.files import MANIFEST, Wanted, doubt, read_manifest
from ansible.module_utils.provision.models.orders import CheckOrders, Orders
from ansible.module_utils.provision.models.owners import give_back, strayed
from ansible.module_utils.provision.models.path import check_path

HUBS = ("huggingface", "modelscope")
VERIFY_UNIT = "provision-job-model-verify"
DOWNLOAD_AGAIN = "run `provision apply`: it downloads what is missing"


def unit_of(directory: str) -> str:
    """Return the unit that downloads a directory."""
    return f"provision-job-model-{hashlib.sha256(directory.encode()).hexdigest()[:10]}"


def inspect(module: AnsibleModule) -> dict[str, Any]:
    """List the models that are missing or not as requested, and give back those with other owners."""
    missing, found = [], [model for model in module.params["models"] if model["source"] in HUBS]
    for model in module.params["models"]:
        if model["source"] == "path":
            check_path(model)
    returned = [give_back_model(module, Path(model["directory"])) for model in found]
    for model in found:
        reason = doubt(Path(model["directory"]), Wanted.of(model))
        if reason:
            missing.append(dict(model, reason=reason))
    warnings = [text for _, text in returned if text]
    result = {"changed": False, "finished": True, "missing": missing, "diff": [d for d, _ in returned if d]}
    result["changed"] = bool(result["diff"])
    return {**result, "provision": {"warning": warnings}} if warnings else result


def give_back_model(module: AnsibleModule, directory: Path) -> tuple[dict[str, str], str]:
    """Give a model's files to the store's readers; return the difference, and a warning where that failed."""
    paths = strayed(Path(module.params["root"]), directory)
    if not paths:
        return {}, ""
    before = "".join(f"{path}: {Owner.of(path)}\n" for path in paths)
    try:
        if not module.check_mode:
            give_back(directory, paths)
    except OSError as error:
        # A network file system may forbid it, and yet let engines read.
        return (
            {},
            f"{directory} does not belong to root:{READERS}, and cannot be given back: {described(error)}",
        )
    after = "".join(f"{path}: root:{READERS}\n" for path in paths)
    headers = dict.fromkeys(("before_header", "after_header"), f"owners in {directory}")
    return {**headers, "before": before, "after": after}, ""


def fetch(module: AnsibleModule) -> dict[str, Any]:
    """Download one model, as far as one call can."""
    model = module.params["model"]
    wanted, directory = Wanted.of(model), model["directory"]
    why = doubt(Path(directory), wanted)
    after = f"{directory}: {wanted} from {wanted.source}\n"
    diff = {"before": f"{directory}: {why}\n", "after": after}
    result: dict[str, Any] = {"changed": True, "finished": True, "diff": diff}
    if module.check_mode:
        return dict(result, msg=f"would download {wanted} from {module.params['endpoint']} into {directory}")
    job = Job(unit_of(directory), PROGRAM, module.params)
    reported: dict[str, Any] | None = job.report()
    if why or job.running:
        orders = Orders.read({**module.params, **model, "title": f"Download {wanted} into {directory}"})
        make_root(Path(orders.root))
        reported = job.advance("fetch", orders, sandbox(module.params))
    if reported is None:
        return job.progress()
    why = doubt(Path(directory), wanted)
    if why:
        raise Fault(f"{directory} was downloaded, but {why}", "another program writes there: apply again")
    left = f"{wanted}: {reported['left']}" if reported.get("left") else ""
    provision = {"provision": {"warning": [left]}} if left else {}
    return dict(
        result, changed=bool(reported.get("changed")), fetched=reported.get("fetched", []), **provision
    )


def verify(module: AnsibleModule) -> dict[str, Any]:
    """Compare every model of the host with its manifest; a deep look hashes them, as far as one call can."""
    # Models of other sources belong to the engines, which report on their files.
    models = [model for model in module.params["models"] if model["source"] in (*HUBS, "path")]
    found = {m["directory"]: read_manifest(Path(m["directory"])) for m in models}
    held = {directory: manifest for directory, manifest in sorted(found.items()) if manifest}
    if held and module.params["deep"] and not module.check_mode:
        job, run = Job(VERIFY_UNIT, PROGRAM, module.params), module.params["run"]
        reported = job.report()
        if reported.get("state") != "done" or reported.get("run") != run:
            reported = job.answer("run", "verify", CheckOrders(list(held), run), IDLE) or {}
        if not reported:
            return job.progress()
        results = reported["results"]
    else:
        results = {directory: glance(Path(directory), manifest) for directory, manifest in held.items()}
    rungs = [rung(model, name, results) for model in models for name in model["services"]]
    provision: dict[str, Any] = {"rungs": [one.to_dict() for one in rungs]}
    result = {"changed": False, "finished": True, "provision": provision}
    failed = [one for one in rungs if one.status == FAILED]
    if failed and not module.check_mode:
        provision["next"] = failed[0].next
        result.update(failed=True, msg="; ".join(dict.fromkeys(one.evidence for one in failed)))
    return result


def rung(model: dict[str, Any], service: str, results: dict[str, Any]) -> Rung:
    """Return the files rung of one service."""
    directory = Path(model["directory"])
    if str(directory) in results:
        return Rung("files", service=service, **results[str(directory)])
    if model["source"] not in HUBS:
        evidence = f"{directory} has no manifest: it was not downloaded by this store"
        return Rung("files", NOT_APPLICABLE, evidence, service)
    why = doubt(directory, Wanted.of(model)) or "its files were not hashed"
    return Rung("files", FAILED, f"{directory}: {why}", service, DOWNLOAD_AGAIN)


def leftovers(params: dict[str, Any]) -> list[Path]:
    """List what the store keeps besides models."""
    patterns = {
        "programs": "model-store-*.pyz",
        "settings": "model_store*",
        "runtime": "provision-job-model-*",
    }
    found = [path for key, pattern in patterns.items() for path in sorted(Path(params[key]).glob(pattern))]
    return [*found, *filter(Path.exists, [Path(params["cache"])])]


def stored(root: Path) -> Iterator[Path]:
    """Yield the directories that the store created, finished or not; others below the root stay."""
    for source in HUBS:
        for directory in sorted(root.glob(f"{source}/*/*")):
            if directory.name.endswith(".partial") or (directory / MANIFEST).is_file():
                yield directory


def purge(module: AnsibleModule) -> dict[str, Any]:
    """Remove what exists and return what it was."""
    params, root = module.params, Path(module.params["root"])
    jobs = Path(params["runtime"]).glob("provision-job-model-*")
    running = [unit for unit in sorted({path.name.split(".")[0] for path in jobs}) if state(unit).running]
    rubbish = [*leftovers(params), *(stored(root) if params["purge"] else ())]
    if not module.check_mode:
        for unit in running:
            stop(unit)
        for path in rubbish:
            remove(path, MANIFEST)
        if params["purge"]:
            folders = [path for source in HUBS for path in (*root.glob(f"{source}/*"), root / source)]
            drop_empty(*folders, root)
    return removal([*running, *rubbish])


STATES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "inspected": inspect,
    "present": fetch,
    "verified": verify,
    "absent": purge,
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    **DOWNLOADS,
    "state": {"choices": list(STATES), "required": True},
    "models": {"type": "list", "elements": "dict", "default": []},
    "model": {"type": "dict"},
    "root": {"type": "path", "default": "/var/lib/provision/models"},
    "endpoint": {"default": ""},
    "token_file": {"default": "", "no_log": False},
    "client_python": {"type": "path"},
    "workers": {"type": "int", "default": 4},
    "streams": {"type": "int", "default": 4},
    "run": {"default": ""},
    "deep": {"type": "bool", "default": False},
    "purge": {"type": "bool", "default": False},
    "cache": {"type": "path", "default": "/var/cache/provision/model_store"},
    "settings": {"type": "path", "default": "/etc/provision"},
}


def main() -> None:
    """Run as an Ansible module."""
    run(
        lambda module: STATES[module.params["state"]](module),
        ARGUMENTS,
        required_if=[("state", "present", ["model"])],
    )


if __name__ == "__main__":
    main()
