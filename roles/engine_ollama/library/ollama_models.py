# SPDX-License-Identifier: Apache-2.0
"""Pull, create, verify and remove the models of Ollama on a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.engine_ollama.names import Name
from ansible.module_utils.engine_ollama.orders import NamedOrders, Orders
from ansible.module_utils.engine_ollama.record import read_record, records, write_record
from ansible.module_utils.engine_ollama.steps import diffs, doubted, keep, left, owner_diffs, prepare, settled
from ansible.module_utils.engine_ollama.store import Store
from ansible.module_utils.engine_ollama.unit import OllamaJob, limits, make_root, mark, require_root, strayed
from ansible.module_utils.engine_ollama.wanted import (
    main_name,
    names,
    preloaded,
    refuse_contradictions,
    wanted,
)
from ansible.module_utils.provision.engine import files
from ansible.module_utils.provision.host import managed
from ansible.module_utils.provision.host.entry import require_consent, run
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.owners import Owner
from ansible.module_utils.provision.host.payload import FAILED, NOT_APPLICABLE, PASSED, Rung
from ansible.module_utils.provision.jobs.job import DOWNLOADS, IDLE
from ansible.module_utils.provision.models.check import DEEP

GROUPS = ["provision"]
NO_CONSENT = "run again with --yes, or answer the question, to allow the removal"
APPLY = "run `provision apply`: it pulls or creates again what is wrong, and nothing else"


def present(module: AnsibleModule) -> dict[str, Any]:
    """Pull and create one service's models, as far as one call can."""
    params = module.params
    service, root = params["service"], params["service"]["engine_ollama_models_dir"]
    user, folder = params["user"], Path(root)
    refuse_contradictions(service, params["services"])
    before = strayed(folder, user)
    require_root(folder, user, itself=before is None)
    record = read_record(root)
    models = wanted(service, params["gguf"], params["modelfiles"])
    doubts = doubted(models, record)
    job = OllamaJob(managed.stem(service["unit"]), params)
    result = {"changed": bool(doubts or before), "finished": True, "models": sorted(doubts), "repaired": []}
    result.update(name=as_listed(service, main_name(service)))
    result.update(preload=[as_listed(service, name) for name in preloaded(service)])
    result["diff"] = [*owner_diffs(root, before, user), *diffs(models, doubts, record)]
    if not module.check_mode:
        mark(folder)
    if module.check_mode or not (doubts or before or job.running):
        return result
    if not files.user_is_right(user, GROUPS):
        files.make_user(user, GROUPS)
    make_root(folder, user)
    require_root(folder, user)
    if not (doubts or job.running):
        return result
    orders = Orders.read(job.orders()) if job.running else prepare(params, models, set(doubts), record)
    reported = job.advance("ensure", orders, orders.limits)
    if reported is None:
        return job.progress(changed=before is not None)
    return {**result, **settled(params, models, record, keep(orders, reported, root), reported)}


def verified(module: AnsibleModule) -> dict[str, Any]:
    """Check every blob of one service's models; a deep look hashes them, as far as one call can."""
    params, service = module.params, module.params["service"]
    root, asked = service["engine_ollama_models_dir"], names(service)
    if module.check_mode:
        return finish(service, NOT_APPLICABLE, f"{root}: not read in check mode")
    try:
        require_root(Path(root), params["user"])
    except Fault as fault:
        return finish(service, FAILED, str(fault), fault.next_step)
    if not Path(root).is_dir():
        return finish(service, FAILED, f"{root} does not exist")
    if not params["deep"]:
        return finish(service, *glance(root, asked))
    job = OllamaJob(managed.stem(service["unit"]), params)
    reported = job.report()
    if reported.get("state") != "done" or reported.get("run") != params["run"]:
        orders = NamedOrders(f"Hash the models of {service['unit']}", root, asked, params["run"])
        reported = job.answer("run", "verify", orders, {**limits(root, [], linked=False), **IDLE}) or {}
    if not reported:
        return job.progress()
    forget(root, reported)
    why = "sha256 of each matches its name"
    return finish(service, *outcome(root, reported["results"], reported["sizes"], why))


def glance(root: str, asked: list[str]) -> tuple[str, str]:
    """Compare the blobs of models with what the file system reported when their hashes were right."""
    store, stamps = Store(Path(root)), read_record(root)["stamps"]
    found = {name: store.manifest(Name.parse(name)) for name in asked}
    results: dict[str, list[str] | None] = dict.fromkeys(asked)
    sizes: dict[str, int] = {}
    for name, manifest in found.items():
        if manifest:
            unsure = store.unsure(manifest.blobs, stamps)
            results[name] = [f"{store.blob(digest)} changed since its hash was checked" for digest in unsure]
            sizes.update(manifest.blobs)
    return outcome(root, results, sizes, f"unchanged since their hashes were checked; {DEEP}")


def outcome(
    root: str, results: dict[str, list[str] | None], sizes: dict[str, int], why: str
) -> tuple[str, str]:
    """Return the status and the evidence of what was found of each model; None is one that is not there."""
    problems = [text for texts in results.values() for text in texts or ()]
    problems += [f"{name} is not in {root}" for name, texts in results.items() if texts is None]
    if problems:
        return FAILED, "; ".join(dict.fromkeys(problems))
    return PASSED, f"{', '.join(results)}: {len(sizes)} blobs, {sum(sizes.values()) / 1e9:.2f} GB, {why}"


def forget(root: str, reported: dict[str, Any]) -> None:
    """Remove the stamps of blobs that are wrong, so that apply reads them again."""
    record = read_record(root)
    wrong = [digest for digest in reported["sizes"] if digest not in reported["stamps"]]
    if any(record["stamps"].pop(digest, None) for digest in wrong):
        write_record(record)


def as_listed(service: dict[str, Any], name: str) -> str:
    """Return the name of a model as Ollama lists it."""
    try:
        return Store(Path(service["engine_ollama_models_dir"])).spelt(name)
    except OSError:  # the directory cannot be read, which is reported elsewhere
        return name


def finish(service: dict[str, Any], status: str, evidence: str, step: str = APPLY) -> dict[str, Any]:
    """Return the result with the files rung of the service; one that failed fails the module."""
    failed = status == FAILED
    found = Rung("files", status, evidence, service["serve_name"], step if failed else None)
    provision = {"rungs": [found.to_dict()], **({"next": step} if failed else {})}
    result = {
        "changed": False,
        "finished": True,
        "provision": provision,
        "name": as_listed(service, main_name(service)),
    }
    return {**result, "failed": True, "msg": evidence} if failed else result


def absent(module: AnsibleModule) -> dict[str, Any]:
    """Remove the models that provision created and no service lists any more, as far as one call can.

    Models that cannot be removed are a warning, and stay in the record for a later run.
    """
    params = module.params
    # A name in another case is the same model to Ollama.
    named: dict[str, set[str]] = {}
    for service in params["services"]:
        folded = named.setdefault(service["engine_ollama_models_dir"], set())
        folded.update(map(str.casefold, names(service)))
    known = {record["root"]: record for record in records()}
    gone = {
        root: sorted(name for name in record["models"] if name.casefold() not in named.get(root, ()))
        for root, record in known.items()
    }
    # The user went with the last service; what it kept is root's to remove.
    user = params["user"] if Owner.named(params["user"]) else "root"
    stuck = {root: fault for root in known if gone[root] and (fault := obstacle(root, user))}
    ours = {
        root: [name for name in gone[root] if known[root]["models"][name].get("made")]
        for root in known
        if root not in stuck
    }
    listed = [f"remove {name} from {root}: no service lists it" for root, n in ours.items() for name in n]
    consent = require_consent(module, listed, NO_CONSENT)
    job = OllamaJob("prune", {**params, "user": user})
    for root in () if module.check_mode else tuple(ours):
        ended = attempt(job, known[root], gone[root], ours[root])
        if not ended:
            return job.progress(changed=bool(listed))
        if isinstance(ended, Fault):
            stuck[root] = ended
            del ours[root]
    removed = [name for names_of_root in ours.values() for name in names_of_root]
    warnings = [kept(gone[root], root, fault) for root, fault in stuck.items()]
    provision = {**consent, **({"warning": warnings} if warnings else {})}
    result = {"changed": bool(removed), "finished": True, "removed": removed}
    return {**result, "provision": provision} if provision else result


def attempt(job: OllamaJob, record: dict[str, Any], gone: list[str], ours: list[str]) -> bool | Fault:
    """Return whether the models of one directory are removed by now, or why they cannot be."""
    try:
        return not gone or remove_models(job, record, gone, ours)
    except Fault as fault:
        return fault


def obstacle(root: str, user: str) -> Fault | None:
    """Return what keeps a directory's models from being removed."""
    try:
        require_root(Path(root), user, itself=strayed(Path(root), user) is None)
    except Fault as fault:
        return fault
    return None


def kept(models: list[str], root: str, fault: Fault) -> str:
    """Return the warning about models that could not be removed."""
    return (
        f"{', '.join(models)} stay in {root}: {fault}; {fault.next_step}, "
        "or remove that directory yourself if nothing else is in it"
    )


def remove_models(job: OllamaJob, record: dict[str, Any], gone: list[str], ours: list[str]) -> bool:
    """Remove models that were created here and forget the others; return whether the removal has ended.

    The record keeps them until then, so that the next call, or the next run, goes on with the removal.
    """
    root = record["root"]
    entries = [record["models"].pop(name) for name in gone]
    bases = {entry["base"] for entry in entries if entry.get("base")}
    bases -= {entry.get("base") for entry in record["models"].values()}
    leaving = [*ours, *sorted(bases)]
    if leaving and Path(root).is_dir():
        make_root(Path(root), job.user)
        orders = NamedOrders(f"Remove models from {root}", root, leaving, " ".join([root, *leaving]))
        reported = job.report()
        # Such a removal may have ended since the last call.
        if (reported.get("state"), reported.get("run")) != ("done", orders.run) or left(orders):
            reported = job.answer("run", "prune", orders, limits(root, [], linked=False)) or {}
        if not reported:
            return False
        for digest in reported["removed"]:
            record["stamps"].pop(digest, None)
    write_record(record)
    return True


ARGUMENTS: dict[str, dict[str, Any]] = {
    **{name: option for name, option in DOWNLOADS.items() if name != "environment_file"},
    "stall_seconds": {"type": "int", "default": 90},
    "state": {"choices": ["present", "absent", "verified"], "required": True},
    "service": {"type": "dict"},
    "services": {"type": "list", "elements": "dict", "default": []},
    "gguf": {"default": ""},
    "modelfiles": {"type": "dict", "default": {}},
    "user": {"default": "ollama"},
    "binary": {"type": "path"},
    "registry": {"default": "https://registry.ollama.ai"},
    "environment": {"type": "dict", "default": {}},
    "serving": {"type": "list", "elements": "str", "default": []},
    "run": {"default": ""},
    "deep": {"type": "bool", "default": False},
    "consent": {"type": "bool", "default": False},
}


def main() -> None:
    """Run as an Ansible module."""
    verbs = {"present": present, "verified": verified, "absent": absent}
    run(
        lambda module: verbs[module.params["state"]](module),
        ARGUMENTS,
        required_if=[("state", "present", ["service", "binary"]), ("state", "verified", ["service"])],
    )


if __name__ == "__main__":
    main()
