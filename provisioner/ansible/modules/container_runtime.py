# SPDX-License-Identifier: Apache-2.0
"""Make NVIDIA's GPUs available to the containers of an engine, or undo that."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.containers import modules as container_modules
from ansible.module_utils.provision.containers import packages as container_packages
from ansible.module_utils.provision.containers import sources
from ansible.module_utils.provision.containers.docker import DAEMON, load
from ansible.module_utils.provision.containers.ledger import lines
from ansible.module_utils.provision.containers.packages import DOCKER, Wanted
from ansible.module_utils.provision.containers.runtime import ANY, Runtime
from ansible.module_utils.provision.gpu import containers
from ansible.module_utils.provision.host.entry import require_consent, run
from ansible.module_utils.provision.host.fault import ConsentNeeded, Fault
from ansible.module_utils.provision.host.repository import out_of_sight
from ansible.module_utils.provision.host.settings import read_file


class Run:
    """One call of the module."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.given: dict[str, Any] = module.params
        self.needs: list[str] = []

    def wanted(self) -> Wanted:
        """Return what the options request."""
        manager = container_packages.toolkit_manager()
        packages = container_packages.serving(manager, tuple(self.given["engine_packages"]))
        names = ("engine", "toolkit_version", "cdi", "gpus", "driver", "container")
        return Wanted(engine_packages=packages, **{name: self.given[name] for name in names})

    def runtime(self, wanted: Wanted | None = None, *, dry: bool = False) -> Runtime:
        """Return the requested runtime, or another one."""
        dry = dry or self.module.check_mode

        def allow(what: str) -> None:
            if not self.given["consent"]:
                self.needs.append(what)
                if not dry:
                    raise ConsentNeeded(self.needs)

        return Runtime(wanted or self.wanted(), dry=dry, allow=allow, warn=self.module.warn)

    def result(self, runtime: Runtime, **more: Any) -> dict[str, Any]:
        """Return the module's result."""
        ledger = runtime.ledger
        found = {"changed": bool(ledger.changes), "diff": ledger.diff, **more}
        provision = require_consent(self.module, self.needs)
        return {**found, "provision": provision} if provision else found

    def preview(self) -> Runtime:
        """Return a runtime that only lists what it would change."""
        runtime = self.runtime(dry=True)
        runtime.holds.lock()
        runtime.settle()
        return runtime

    def check_requirements(self) -> dict[str, Any]:
        """Refuse what cannot work."""
        self.refuse_sources()
        if self.given["engine"] == DOCKER:
            load(read_file(str(DAEMON)))
        self.runtime(dry=True).packages.refuse_old_engine()
        return {"changed": False}

    def other_sources(self) -> list[Path]:
        """Return package sources of the toolkit that someone else has added."""
        found: list[Path] = sources.stale(self.given["repository"])
        return found if self.given["toolkit_version"] else []

    def refuse_sources(self) -> None:
        """Refuse sources of the toolkit that someone else has added, unless they may be moved."""
        found = self.other_sources()
        fixed = [path for path in found if not sources.may_move(path)]
        if fixed or (found and not self.given["replace_repository"]):
            names = ", ".join(map(str, fixed or found))
            step = "set container_runtime_replace_repository: true to disable it, or remove it"
            raise Fault(
                f"{names} already defines a repository of NVIDIA's container toolkit; dnf mixes two sources "
                "of one, and apt refuses them (Conflicting values set for option Signed-By)",
                f"remove those lines from {names}" if fixed else step,
            )

    def list_changes(self) -> dict[str, Any]:
        """List what would change, and ask where that interrupts containers."""
        self.check_requirements()
        runtime = self.preview()
        modules = runtime.packages.missing_modules()
        if not self.module.check_mode:
            container_modules.refuse_missing(runtime.packages.manager, modules)
        packages = [*runtime.packages.missing_packages(), *modules, *runtime.packages.wrong_versions()]
        moves = [f"move {path}" for path in self.other_sources()]
        lacks = [] if packages or self.has_command_line() else ["the engine's command line"]
        if packages or any(change.startswith("enable ") for change in runtime.ledger.changes):
            for one in containers.gpu_containers():
                # Packages with units reload systemd themselves.
                runtime.allow(f"reload systemd, which may remove the GPUs from {containers.named(one)}")
        pending = [*packages, *lacks, *moves, *runtime.ledger.changes]
        engine = list(runtime.wanted.engine_packages)
        return self.result(runtime, pending=pending, engine_packages=engine, changed=False, diff=[])

    def pin_versions(self) -> dict[str, Any]:
        """Disable other sources, lock the version, and change what is installed to it."""
        runtime = self.runtime()
        plan, packages = runtime.ledger.plan, runtime.packages
        runtime.note_absent()
        for path in self.other_sources():
            to = out_of_sight(sources.NAME, path)
            if plan(f"move {path}", f"{path}\n", f"{to}\n"):
                path.rename(to)
        runtime.holds.lock()
        version, wrong = self.given["toolkit_version"], packages.wrong_versions()
        finished = True
        before = lines(f"{name} {packages.found[name]}" for name in wrong)
        after = lines(f"{name} {version}" for name in wrong)
        if wrong and plan("versions of the container toolkit", before, after):
            finished = container_packages.change(packages.manager, version, wrong, self.given["poll"])
        modules = packages.missing_modules() if finished else []
        if modules and plan("modules of the kernel", "", lines(modules)):
            engine = runtime.wanted.engine_packages
            finished = container_packages.add_modules(modules, engine, self.given["poll"])
        return self.result(runtime, finished=finished)

    def configure(self) -> dict[str, Any]:
        """Make all settings once the packages are installed."""
        runtime = self.runtime()
        if not self.module.check_mode:
            runtime.packages.require()
            runtime.packages.refuse_old_engine()
        runtime.settle()
        return self.result(runtime, command_line=self.module.check_mode or self.has_command_line())

    def has_command_line(self) -> bool:
        """Return whether the engine has its command line: Debian's Docker has a package for that alone."""
        return shutil.which(self.given["engine"]) is not None

    def verify(self) -> dict[str, Any]:
        """List the differences."""
        runtime = self.preview()
        changes = [f"not as requested: {change}" for change in runtime.ledger.changes]
        findings = [*runtime.packages.differences(), *changes]
        self.needs.clear()
        return self.result(runtime, findings=findings, changed=False, diff=[])

    def undo_settings(self) -> dict[str, Any]:
        """Undo settings before the packages are removed."""
        self.runtime(ANY, dry=True).ask()
        require_consent(self.module, self.needs)
        runtime = self.runtime(ANY)
        runtime.undo()
        return self.result(runtime)

    def remove_leftovers(self) -> dict[str, Any]:
        """Remove what the packages have left behind."""
        runtime = self.runtime(ANY)
        runtime.forget()
        return self.result(runtime)


STEPS: dict[tuple[str, str | None], Callable[[Run], dict[str, Any]]] = {
    ("inspected", "requirements"): Run.check_requirements,
    ("inspected", "changes"): Run.list_changes,
    ("present", "versions"): Run.pin_versions,
    ("present", "settings"): Run.configure,
    ("absent", "settings"): Run.undo_settings,
    ("absent", "leftovers"): Run.remove_leftovers,
    ("verified", None): Run.verify,
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "state": {"choices": ["inspected", "present", "absent", "verified"], "required": True},
    "step": {"choices": ["requirements", "changes", "versions", "settings", "leftovers"]},
    "engine": {"choices": ["podman", "docker"], "default": "podman"},
    "engine_packages": {"type": "list", "elements": "str", "default": []},
    "toolkit_version": {"type": "str", "default": ""},
    "repository": {"type": "str", "default": ""},
    "replace_repository": {"type": "bool", "default": False},
    "cdi": {"type": "bool", "default": True},
    "gpus": {"type": "list", "elements": "dict", "default": []},
    "driver": {"type": "str", "default": ""},
    "container": {"type": "bool", "default": False},
    "consent": {"type": "bool", "default": False},
    "poll": {"type": "int", "default": 10},
    "timeout": {"type": "int", "default": 14400},
}


def outcome(module: AnsibleModule) -> dict[str, Any]:
    """Return the result of the step."""
    chosen = (module.params["state"], module.params["step"])
    if chosen not in STEPS:
        steps = " or ".join(step for state, step in STEPS if state == chosen[0] and step)
        raise Fault(f"state {chosen[0]} takes {steps or 'no'} step, not {chosen[1]}", "correct the task")
    return STEPS[chosen](Run(module))


def main() -> None:
    """Run as an Ansible module."""
    run(outcome, ARGUMENTS)


if __name__ == "__main__":
    main()
