# SPDX-License-Identifier: Apache-2.0
"""Inspect, install and remove the release archives of a host."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.fetch.archive import PROGRAM, Orders
from ansible.module_utils.provision.fetch.place import (
    MANIFEST,
    Wanted,
    check_executable,
    doubt,
    unfinished,
    unused,
)
from ansible.module_utils.provision.host.entry import removal, run
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.paths import drop_empty, remove
from ansible.module_utils.provision.jobs.job import DOWNLOADS, Job
from ansible.module_utils.provision.jobs.sandbox import labels, sandbox
from ansible.module_utils.provision.jobs.unit import stop

PASSED_ON = ("needed_bytes", "reserve_bytes", "attempts", "stall_seconds", "root", "cache")


def job_of(params: dict[str, Any]) -> Job:
    """Return the job that installs archives of this name, one at a time."""
    return Job(f"provision-job-archive-{params['name']}", PROGRAM, params)


def create(params: dict[str, Any], wanted: Wanted, directory: Path) -> dict[str, Any]:
    """Install the archive, as far as one call can."""
    job = job_of(params)
    for path in (Path(params["root"]), Path(params["cache"])):
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    given = {name: params[name] for name in PASSED_ON}
    orders = Orders(**asdict(wanted), title=str(wanted), directory=str(directory), **given)
    about = {"UMask": "0022", "Description": f"Download the release archive {directory}"}
    limits: dict[str, object] = {**sandbox(params), **about, **labels(directory)}
    reported = job.answer("directory", "fetch", orders, limits)
    if reported is None:
        return job.progress(changed=job.orders().get("directory") == str(directory))
    why = doubt(directory, wanted)
    if why:
        raise Fault(f"{directory} was installed, but {why}", "another program writes there: apply again")
    done: dict[str, Any] = {"changed": True, "finished": True, "present": True}
    return {**done, "provision": {"warning": reported["warnings"]}} if reported.get("warnings") else done


def leftovers(params: dict[str, Any]) -> list[Path]:
    """List what this name keeps besides versions; the program is removed with the last name."""
    root, runtime = Path(params["root"]), Path(params["runtime"])
    found = [*unfinished(root, params["name"]), Path(params["cache"]) / params["name"]]
    found += [runtime / f"provision-job-archive-{params['name']}{end}" for end in (".json", ".spec.json")]
    if params["environment_file"]:
        found.append(Path(params["environment_file"]))
    if not any(path.name != params["name"] for path in root.glob("*")):
        found += sorted(Path(params["programs"]).glob("release-archive-*.pyz"))
    return [path for path in found if path.exists()]


def prune(module: AnsibleModule) -> dict[str, Any]:
    """Remove what nothing uses, and return what it was."""
    params, job = module.params, job_of(module.params)
    root, name = Path(params["root"]), params["name"]
    rubbish = unused(root, name, params["keep"])
    running = job.running
    ended = [job.unit] if running and params["everything"] else []
    if params["everything"]:
        rubbish += leftovers(params)
    elif not running:
        rubbish += unfinished(root, name)
    if not module.check_mode:
        for unit in ended:
            stop(unit)
        for path in rubbish:
            remove(path, MANIFEST)
        if params["everything"]:
            drop_empty(root / name, root, Path(params["cache"]))
    return removal([*ended, *rubbish])


def outcome(module: AnsibleModule) -> dict[str, Any]:
    """Return the result of one call."""
    params = module.params
    if params["state"] == "absent":
        return prune(module)
    wanted = Wanted.of(params)
    directory = wanted.below(Path(params["root"]))
    why = doubt(directory, wanted)
    result: dict[str, Any] = {
        "changed": False,
        "finished": True,
        "present": not why,
        "directory": str(directory),
        "ansible_facts": {"release_archives": dict(params["known"], **{wanted.name: str(directory)})},
    }
    if not why:
        check_executable(directory, wanted)
    # A unit that is still at work has something left to do after the last rename.
    if params["state"] == "inspected" or not (why or job_of(params).running):
        return result
    result["diff"] = {
        "before": f"{directory}: {why}\n" if directory.is_dir() else "",
        "after": f"{directory}: {wanted}, sha256 {wanted.sha256}\n",
    }
    if module.check_mode:
        return dict(result, changed=bool(why))
    return {**result, **create(params, wanted, directory)}


ARGUMENTS: dict[str, dict[str, Any]] = {
    **DOWNLOADS,
    "name": {"required": True},
    "state": {"choices": ["inspected", "present", "absent"], "default": "present"},
    "version": {"default": ""},
    "sha256": {"default": ""},
    "executable": {"default": ""},
    "needed_bytes": {"type": "int", "default": 0},
    "everything": {"type": "bool", "default": False},
    "known": {"type": "dict", "default": {}},
    "keep": {"type": "list", "elements": "path", "default": []},
    "root": {"type": "path", "default": "/opt/provision/archives"},
    "cache": {"type": "path", "default": "/var/cache/provision/archives"},
}


def main() -> None:
    """Run as an Ansible module."""
    run(outcome, ARGUMENTS)


if __name__ == "__main__":
    main()
