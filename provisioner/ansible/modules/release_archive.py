# SPDX-License-Identifier: Apache-2.0
"""Inspect, install and remove the release archives of a host."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.fetch.main import install
from ansible.module_utils.provision.fetch.orders import Orders
from ansible.module_utils.provision.fetch.place import (
    Wanted,
    check_executable,
    doubt,
    remove,
    unfinished,
    unused,
)
from ansible.module_utils.provision.host.entry import run_module
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.jobs.job import Job
from ansible.module_utils.provision.jobs.sandbox import sandbox
from ansible.module_utils.provision.jobs.unit import stop, wait

PASSED_ON = ("name", "version", "needed_bytes", "reserve_bytes", "attempts", "stall_seconds", "root", "cache")
RESTORECON = Path("/usr/sbin/restorecon")
SELINUX = Path("/sys/fs/selinux/enforce")


def job_of(params: dict[str, Any]) -> Job:
    """Return the job that installs archives of this name, one at a time."""
    unit = f"provision-job-archive-{params['name']}"
    return Job(unit, Path(params["runtime"]), params["poll"], params["environment_file"])


def limits(params: dict[str, Any], directory: Path) -> dict[str, object]:
    """Return what systemd must know about the unit."""
    more: dict[str, object] = {"UMask": "0022", "Description": f"Download the release archive {directory}"}
    if RESTORECON.exists() and SELINUX.exists():
        # Services may execute only what has the label of its final path; the sandbox cannot give labels.
        more["ExecStopPost"] = f"-+{RESTORECON} -RF {directory}"
    return {**sandbox(params), **more}


def create(module: AnsibleModule, wanted: Wanted, directory: Path) -> dict[str, Any]:
    """Install the archive, as far as one call can."""
    params = module.params
    job = job_of(params)
    if job.running and job.orders().get("directory") != str(directory):
        # Another version of this name is being installed; this one follows.
        wait(job.unit, params["poll"])
        return dict(job.progress())
    try:
        reported = advance(job, params, wanted, directory)
    except Fault:
        if job.report().get("directory") != str(directory):
            return dict(job.progress())  # the other version's failure has been read now
        raise
    if reported is None or reported.get("directory") != str(directory):
        return dict(job.progress(changed=reported is None))
    why = doubt(directory, wanted)
    if why:
        raise Fault(f"{directory} was installed, but {why}", "another program writes there: apply again")
    done: dict[str, Any] = {"changed": True, "finished": True, "present": True}
    return {**done, "provision": {"warning": reported["warnings"]}} if reported.get("warnings") else done


def advance(job: Job, params: dict[str, Any], wanted: Wanted, directory: Path) -> dict[str, Any] | None:
    """Start the unit, or attach to the one that runs, and return its outcome once it has ended."""
    for path in (Path(params["root"]), Path(params["cache"])):
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    orders = Orders(
        sha256=wanted.sha256,
        executable=wanted.executable,
        title=str(wanted),
        directory=str(directory),
        **{name: params[name] for name in PASSED_ON},
    )
    program = partial(install, Path(params["programs"]))
    reported: dict[str, Any] | None = job.advance(
        program, "fetch", orders.to_dict(), limits(params, directory)
    )
    return reported


def leftovers(params: dict[str, Any]) -> list[Path]:
    """List what this name keeps besides versions; the program is removed with the last name."""
    root, runtime = Path(params["root"]), Path(params["runtime"])
    found = [*unfinished(root, params["name"]), Path(params["cache"]) / params["name"]]
    found += [runtime / f"provision-job-archive-{params['name']}{end}" for end in (".json", ".spec.json")]
    if params["environment_file"]:
        found.append(Path(params["environment_file"]))
    others = [path for path in root.glob("*") if path.name != params["name"]]
    return [path for path in found if path.exists()] + (
        [] if others else sorted(Path(params["programs"]).glob("release-archive-*.pyz"))
    )


def prune(module: AnsibleModule) -> dict[str, Any]:
    """Remove what nothing uses, and return what it was."""
    params, job = module.params, job_of(module.params)
    root, name = Path(params["root"]), params["name"]
    rubbish = unused(root, name, params["keep"])
    running = job.running
    if params["everything"]:
        rubbish += leftovers(params)
    elif not running:
        rubbish += unfinished(root, name)
    if not module.check_mode:
        if running and params["everything"]:
            stop(job.unit)
        for path in rubbish:
            remove(path)
        if params["everything"]:
            drop_empty(root / name, root, Path(params["cache"]))
    ended = [job.unit] if running and params["everything"] else []
    names = [*ended, *map(str, rubbish)]
    diff = {"before": "".join(f"{one}\n" for one in names), "after": ""}
    return {"changed": bool(names), "finished": True, "removed": names, "diff": diff}


def drop_empty(*folders: Path) -> None:
    """Remove empty folders."""
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def outcome(module: AnsibleModule) -> dict[str, Any]:
    """Return the result of one call."""
    params = module.params
    if params["state"] == "absent":
        return prune(module)
    wanted = Wanted.of(params)
    directory = wanted.directory(Path(params["root"]))
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
    result["diff"] = difference(directory, why, wanted)
    if module.check_mode:
        return dict(result, changed=bool(why))
    return {**result, **create(module, wanted, directory)}


def difference(directory: Path, why: str, wanted: Wanted) -> dict[str, str]:
    """Return the difference that Ansible shows."""
    before = "" if why == "it does not exist" else f"{directory}: {why}\n"
    return {"before": before, "after": f"{directory}: {wanted}, sha256 {wanted.sha256}\n"}


ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"required": True},
    "state": {"choices": ["inspected", "present", "absent"], "default": "present"},
    "version": {"default": ""},
    "sha256": {"default": ""},
    "executable": {"default": ""},
    "environment_file": {"type": "path"},
    "needed_bytes": {"type": "int", "default": 0},
    "reserve_bytes": {"type": "int", "default": 1073741824},
    "attempts": {"type": "int", "default": 5},
    "stall_seconds": {"type": "int", "default": 60},
    "poll": {"type": "int", "default": 5},
    "everything": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 14400},
    "known": {"type": "dict", "default": {}},
    "keep": {"type": "list", "elements": "path", "default": []},
    "root": {"type": "path", "default": "/opt/provision/archives"},
    "cache": {"type": "path", "default": "/var/cache/provision/archives"},
    "runtime": {"type": "path", "default": "/run/provision"},
    "programs": {"type": "path", "default": "/usr/local/lib/provision"},
}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    os.umask(0o022)
    run_module(module, lambda: outcome(module))


if __name__ == "__main__":
    main()
