# SPDX-License-Identifier: Apache-2.0
"""Bring a driver about on a host, in an order in which a failure leaves the host as it was.

First comes what can fail without touching what runs: locks, room, lists, headers, downloads. Then services
stop and packages change. What is not proven for the kernel that boots next is taken back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..gpu import kernel as kernels
from ..host.fault import Fault, fault_of, undo
from ..host.json_files import read_json, write_json
from ..jobs.command import note
from ..jobs.progress import Progress
from . import hold as holds
from . import record, reload, runfile, steps
from .decision import ACTIVATE
from .installed import listed
from .managers import AptDriver, choose_version, driver_manager, wait_for_lock
from .packages import (
    DESKTOP,
    DISTRIBUTION,
    NVIDIA,
    RUNFILE,
    Packages,
    System,
    driver_version,
    for_desktop,
    is_family,
    packages,
)
from .rollback import Rollback, settle
from .services import Services

BROUGHT = Path("/var/lib/provision/packages.json")


class Install:
    """One change of a host's driver."""

    def __init__(self, spec: dict[str, Any], progress: Progress) -> None:
        self.spec = spec
        self.progress = progress
        self.manager = driver_manager()
        self.system = System(**spec["system"])
        self.before: dict[str, str] = {}
        self.installer: Path | None = None
        self.specs: list[str] = []
        self.warnings: list[str] = []
        self.services = Services(spec, self.warnings)

    def run(self) -> dict[str, Any]:
        """Do what was decided, and return the version that is there and why a reboot is needed, if it is."""
        active = self.spec["action"] == ACTIVATE
        try:
            version = str(self.spec["installed_version"]) if active else self._replace()
            steps.keep_nouveau_off()
            self._say("making the initramfs")
            steps.rebuild_initramfs(self.spec["booting"])
            self.services.enable()
            reboot = self._activate(version)
        except BaseException as error:
            # Whatever it was, what served before serves on with the driver that is loaded.
            undo(error, self.services.start)
            raise
        record.note(self.spec["source"], version, record.DONE)
        return {"changed": True, "version": version, "reboot": reboot, "warnings": self.warnings}

    def _replace(self) -> str:
        """Change the driver, and return its version; after a failure, holds and pins are those of before."""
        rollback = Rollback(self.manager, self.spec)
        try:
            version = self._ready()
            self._say("stopping what uses the GPUs")
            self.services.stop()
            record.note(self.spec["source"], version, record.CHANGING)
            self._change(version, rollback)
        except BaseException as error:
            undo(error, rollback.streams, rollback.settle, rollback.restore_record)
            raise
        settle(self.manager, version, packaged=self.installer is None, hold=self.spec["hold"])
        return version

    def _ready(self) -> str:
        """Do all that can fail before anything of the driver changes, and return its exact version."""
        wait_for_lock(self.manager, self.spec["lock_timeout"], self._say)
        self.manager.repair()
        steps.room(self.spec["booting"])
        self._say("reading the package lists")
        self.manager.refresh(strict=self.spec["source"] == NVIDIA)
        listed_before = set(listed())
        # Before anything is installed: DKMS, too, may bring a kernel along.
        holds.prepare()
        holds.release()
        holds.hold_kernel()
        if self.spec["source"] == RUNFILE:
            steps.headers(self.manager, self.spec)
            self._remember(listed_before)
            self.installer = runfile.fetch(self.spec, self.progress)
            return str(self.spec["version"])
        named = self._named()
        self.manager.prepare(named.streams)
        version = self._resolve(named)
        if named.dkms:
            self._say(f"bringing what compiles modules for kernel {self.spec['booting']}")
            steps.headers(self.manager, self.spec)
        self._remember(listed_before)
        self.specs = self._specs(named, version)
        self.manager.pin(version)
        self.manager.check(self.specs)
        self._say(f"downloading driver {version}")
        self.manager.fetch(self.specs)
        return version

    def _named(self) -> Packages:
        asked = self.spec
        branch = int(asked["version"].split(".")[0])
        desktop = asked["installed_source"] == asked["source"] == DISTRIBUTION and for_desktop(listed())
        source = DESKTOP if desktop else asked["source"]
        return packages(self.system, source, branch, asked["modules"], asked["booting"])

    def _resolve(self, named: Packages) -> str:
        """Return the driver's version that the repository has of what is asked for."""
        offered = self._offered(named.telling)
        chosen = choose_version(offered, self.spec["version"].split("."))
        if chosen is None:
            names = self.manager.branches(named.telling)
            every = (driver_version(version) for name in names for version in self._offered(name))
            some = sorted({found for found in every if found})
            raise Fault(
                f"driver {self.spec['version']} is in no repository of this host "
                f"(there is {', '.join(some) or 'no driver at all'})",
                "choose one of these in nvidia_driver_version, or a repository that has it in "
                "nvidia_driver_repository",
            )
        return str(driver_version(chosen))

    def _offered(self, name: str) -> list[str]:
        """Return the versions of a package of the driver, from its own source: others use these names too."""
        found: list[str] = self.manager.versions(name, ours=self.spec["source"] == NVIDIA)
        return found

    def _specs(self, named: Packages, version: str) -> list[str]:
        """Return the packages, each at this driver's version; what is counted otherwise comes as it is."""
        wanted = [*named.driver, *(named.fabric if self.spec["fabric"] else ()), *self.spec["more_packages"]]
        found = []
        for name in wanted:
            offered = self._offered(name)
            exact = choose_version(offered, version.split("."))
            if exact:
                found.append(self.manager.spec(name, exact))
            elif offered and not any(driver_version(one) for one in offered):
                found.append(name)
            elif name in (*named.driver[:2], *named.fabric[:1]):
                raise Fault(
                    f"the repository has {named.telling} {version}, but not {name} of that version",
                    "its mirror is incomplete: choose another nvidia_driver_version, or wait for the mirror",
                )
            else:
                self.warnings.append(f"{name} {version} is not in the repository and was left out")
        # What is there already and is not asked for comes along, or it would stay behind at its version.
        there = [name for name in listed() if is_family(name) and name not in wanted]
        along = ((name, choose_version(self._offered(name), version.split("."))) for name in there)
        return found + [self.manager.spec(name, exact) for name, exact in along if exact]

    def _change(self, version: str, rollback: Rollback) -> None:
        """Change packages and prove what came; what is not proven is taken back."""
        self.before = rollback.packages
        try:
            self._transaction(version)
            if kernels.booting() != self.spec["booting"]:
                raise Fault(
                    f"kernel {kernels.booting()} boots next since the driver was installed, and not "
                    f"{self.spec['booting']}",
                    "apply again: the driver is then built for that kernel",
                )
            self._say(f"proving the modules of driver {version}")
            for kernel in self._kernels():
                steps.prove(
                    kernel,
                    version,
                    self.spec["modules"],
                    secure_boot=self.spec["secure_boot"],
                    dkms=self.spec["source"] == RUNFILE or self._named().dkms,
                )
        except BaseException as error:
            self._say("taking the driver back")
            rollback.take_back(fault_of(error))
            raise

    def _transaction(self, version: str) -> None:
        label = f"installing driver {version} ({self.spec['modules']} modules)"
        self._say(label)
        if self.spec["action"] == "move":
            self._remove_old()
        if self.installer:
            runfile.install(self.installer, self.spec)
        else:
            self._drop_other_kind()
            self.manager.install(self.specs, label, erase=True)

    def _remove_old(self) -> None:
        """Remove the driver of another source; two of them overwrite each other's files."""
        if self.spec["installed_source"] == RUNFILE:
            runfile.uninstall()
        elif self.before:
            self.manager.remove(self.before)

    def _drop_other_kind(self) -> None:
        """Remove packages of another branch or of the other kind of modules, whose names stand in the way."""
        if not isinstance(self.manager, AptDriver):
            return
        wanted = {spec.split("=")[0] for spec in self.specs}
        built = [name for name in self.before if "dkms" in name or "kernel-source" in name]
        rivals = [name for name in built if name not in wanted]
        if rivals:
            self.manager.remove(rivals)

    def _kernels(self) -> list[str]:
        """Return the kernels that must have the module: the one that boots next, and this one if it can."""
        here = self.spec["running"]
        more = [here] if here != self.spec["booting"] and kernels.has_headers(here) else []
        return [self.spec["booting"], *more]

    def _activate(self, version: str) -> str:
        """Have the driver run, and return why that takes a reboot, empty when it does not."""
        self._say(f"loading driver {version}")
        module, _ = kernels.loaded_driver()
        here = kernels.module(self.spec["running"])
        reason = ""
        if here is None or here.version != version:
            reason = (
                f"kernel {self.spec['booting']} has driver {version}, and kernel {self.spec['running']} runs"
            )
        elif module != version:
            reason = self._switch(module)
        if reason and not self.spec["may_reboot"]:
            raise Fault(
                f"driver {version} is installed, and only a reboot can bring it to work: {reason}",
                "reboot the host by hand, or set nvidia_driver_reboot: consent and apply again",
            )
        if not reason:
            self.services.start()
        return reason

    def _switch(self, module: str | None) -> str:
        """Replace what is loaded; return why that cannot be done without a reboot."""
        if not reload.drop_nouveau():
            return "nouveau holds the GPUs"
        if module:
            self.services.stop()
            others = reload.strangers(reload.holders(), self.spec["serving"])
            stays = "; ".join(others) or reload.unload()
            if stays:
                return f"driver {module} cannot be unloaded: {stays}"
        reload.load()
        return ""

    def _remember(self, before: set[str]) -> None:
        """Note which packages came beside the driver, so that a removal of everything finds them."""
        # What rpm calls a key is no package that could be removed.
        came = sorted(name for name in set(listed()) - before - {"gpg-pubkey"} if not is_family(name))
        if came:
            entry = {"asked": ["nvidia_driver"], "installed": came}
            write_json(BROUGHT, [*read_json(BROUGHT, []), entry], 0o644)

    def _say(self, label: str) -> None:
        self.progress.label = label
        note(label)


def install(spec: dict[str, Any]) -> None:
    """Do the job, and write its outcome."""
    about = {word: spec[word] for word in ("verb", "asked", "version", "source", "modules")}
    with Progress(Path(spec["result"]), spec["title"], about) as progress:
        progress.finish(**about, outcome=Install(spec, progress).run())
