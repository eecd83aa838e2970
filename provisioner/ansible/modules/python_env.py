# SPDX-License-Identifier: Apache-2.0
"""Inspect, build and remove the virtual environments of a host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.host.entry import removal, run
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.outward import trouble
from ansible.module_utils.provision.host.paths import device, free_bytes, remove, require_room, text_of
from ansible.module_utils.provision.jobs.unit import journal_tail, start_or_attach, state, wait
from ansible.module_utils.provision.python.environment import (
    MARKER,
    Interpreter,
    check_lock,
    choose_version,
    directory_name,
    find_interpreter,
    is_complete,
    system_version,
    unused,
)

BUILD_SECONDS = 7200
DISK_MARGIN = 1.1
RUNTIME = Path("/run/provision")


@dataclass(frozen=True)
class Wanted:
    """Describe the requested environment, resolved on this host."""

    name: str
    directory: Path
    lock_sha256: str
    interpreter: Interpreter

    @property
    def unit(self) -> str:
        """Return the name of the unit that builds it."""
        return f"provision-job-env-{self.name}"

    @property
    def complete(self) -> bool:
        """Return whether it is complete."""
        return is_complete(self.directory, self.lock_sha256)


def resolve(params: dict[str, Any]) -> Wanted:
    """Resolve the parameters against the host."""
    limits = (params["minimum_python"], params["maximum_python"])
    own = params["interpreter"]
    version = choose_version(params["python"], system_version(), limits, params["candidates"])
    interpreter = find_interpreter(version, own)
    name = directory_name(params["name"], params["lock_sha256"], own or version, params["installer"])
    return Wanted(params["name"], Path(params["root"]) / name, params["lock_sha256"], interpreter)


def unit_properties(params: dict[str, Any], wanted: Wanted) -> dict[str, object]:
    """Return what systemd must know about the build."""
    cache = Path(params["cache"])
    same_disk = device(cache) == device(wanted.directory)
    environment = {
        "HOME": cache,
        "TMPDIR": cache / "tmp",
        "PIP_CACHE_DIR": cache / "pip",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_CACHE_DIR": cache / "uv",
        # Files of the cache and of the environment are the same ones where the file system allows it.
        "UV_LINK_MODE": "hardlink" if same_disk else "copy",
    }
    return {
        "Description": f"Build the virtual environment {wanted.directory}",
        "UMask": "0022",
        "RuntimeMaxSec": BUILD_SECONDS,
        "Environment": [f"{key}={value}" for key, value in environment.items()],
    }


def start(params: dict[str, Any], wanted: Wanted) -> None:
    """Start the build, or attach to the one that runs."""
    if state(wanted.unit).running:
        return
    if not wanted.interpreter.usable:
        raise Fault(
            f"Python {wanted.interpreter.version} with venv and ensurepip is not installed on this host",
            "install its packages, or set python_env_python to another version",
        )
    check_lock(Path(params["lock"]), wanted.lock_sha256)
    # Unpacking needs room beside the result; where the cache has its own disk, both need all of it.
    needed = int(params["needed_bytes"] * DISK_MARGIN)
    for place in (wanted.directory, Path(params["cache"])):
        require_room(f"the environment {wanted.name}", [(place, needed)])
    uv_name = directory_name("uv", params["uv_lock_sha256"], wanted.interpreter.version, "pip")
    argv = [
        # Under an enforcing SELinux systemd may not execute a file below /usr/local/lib itself.
        "/bin/sh",
        params["builder"],
        str(wanted.directory),
        wanted.interpreter.executable,
        params["installer"],
        params["lock"],
        str(wanted.directory.parent / uv_name),
        params["uv_lock"] or "",
        "yes" if params["compile_bytecode"] else "no",
    ]
    RUNTIME.mkdir(mode=0o755, parents=True, exist_ok=True)
    (RUNTIME / wanted.unit).write_text(str(free_bytes(wanted.directory)), encoding="utf-8")
    start_or_attach(
        wanted.unit,
        argv,
        properties=unit_properties(params, wanted),
        environment_file=params["environment_file"],
    )


def progress(params: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
    """Return the progress of the build: the space that it has taken and its last line."""
    line = journal_tail(wanted.unit, 1)
    body = {"label": f"{wanted.name} environment: {line[:80]}"}
    if params["needed_bytes"]:
        before, now = text_of(RUNTIME / wanted.unit), free_bytes(wanted.directory)
        done = max(0, int(before) - now) if before.isdigit() else 0
        body.update(done_bytes=min(done, params["needed_bytes"]), total_bytes=params["needed_bytes"])
    return body


def build(module: AnsibleModule, wanted: Wanted) -> dict[str, Any]:
    """Build the environment, as far as one call can."""
    start(module.params, wanted)
    now = wait(wanted.unit, module.params["poll"])
    if now.failed:
        said = journal_tail(wanted.unit, 20, now.invocation)
        known = trouble(said)
        raise Fault(
            f"building {wanted.directory} failed ({now.result}, exit {now.exit_status}):\n{said}",
            f"{known.says}: {known.step}"
            if known
            else f"read 'journalctl -u {wanted.unit}' on the host; apply again to resume",
        )
    if not wanted.complete:
        provision = {"progress": progress(module.params, wanted)}
        return {"changed": True, "finished": False, "provision": provision}
    return {"changed": True, "finished": True, "present": True}


def prune(module: AnsibleModule) -> dict[str, Any]:
    """Remove the environments of that name that nothing uses."""
    rubbish = unused(Path(module.params["root"]), module.params["name"], module.params["keep"])
    if not module.check_mode:
        for directory in rubbish:
            remove(directory, MARKER)
    return removal(rubbish)


def outcome(module: AnsibleModule) -> dict[str, Any]:
    """Return the result of one call."""
    if module.params["state"] == "absent":
        return prune(module)
    wanted = resolve(module.params)
    result: dict[str, Any] = {
        "changed": False,
        "finished": True,
        "present": wanted.complete,
        "directory": str(wanted.directory),
        "python": wanted.interpreter.version,
        "python_executable": wanted.interpreter.executable,
        "python_usable": wanted.interpreter.usable,
        "python_has_headers": bool(module.params["interpreter"])
        or wanted.interpreter.executable.startswith("/usr/local/"),
        "ansible_facts": {"python_envs": {**module.params["known"], wanted.name: str(wanted.directory)}},
    }
    if wanted.complete or module.params["state"] == "inspected":
        return result
    result["diff"] = {"before": "", "after": f"{wanted.directory}\n"}
    if module.check_mode:
        return dict(result, changed=True)
    return dict(result, **build(module, wanted))


ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"required": True},
    "state": {"choices": ["inspected", "present", "absent"], "default": "present"},
    "lock_sha256": {"default": ""},
    "lock": {"type": "path"},
    "python": {"default": ""},
    "interpreter": {"type": "path", "default": ""},
    "minimum_python": {"default": "3.10"},
    "maximum_python": {"default": ""},
    "candidates": {"type": "list", "elements": "str", "default": []},
    "installer": {"choices": ["uv", "pip"], "default": "uv"},
    "uv_lock": {"type": "path"},
    "uv_lock_sha256": {"default": ""},
    "environment_file": {"type": "path"},
    "builder": {"type": "path", "default": "/usr/local/lib/provision/python_env_build"},
    "compile_bytecode": {"type": "bool", "default": True},
    "needed_bytes": {"type": "int", "default": 0},
    "poll": {"type": "int", "default": 10},
    "timeout": {"type": "int", "default": 14400},
    "known": {"type": "dict", "default": {}},
    "keep": {"type": "list", "elements": "path", "default": []},
    "root": {"type": "path", "default": "/opt/provision/envs"},
    "cache": {"type": "path", "default": "/var/cache/provision"},
}


def main() -> None:
    """Run as an Ansible module."""
    run(outcome, ARGUMENTS)


if __name__ == "__main__":
    main()
