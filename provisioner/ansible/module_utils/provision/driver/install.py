# SPDX-License-Identifier: Apache-2.0
"""Install a driver on a host, in an order in which a failure leaves the host as it was.

First comes what can fail without touching what runs: locks, room, lists, headers, downloads. Then services
stop and packages change. A driver that is not proven for the kernel that boots next is rolled back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..gpu import kernel as kernels
from ..host.fault import Fault, fault_of, undo
from ..host.packages import record as package_record
from ..jobs.orders import job_of
from ..jobs.progress import Progress
from . import hold as holds
from . import record, reload, runfile, steps, transaction
from .decision import ACTIVATE, MOVE
from .orders import Orders
from .packages import (
    DISTRIBUTION,
    NVIDIA,
    RUNFILE,
    Packages,
    archive_driver,
    driver_version,
    is_family,
    packages,
)
from .rollback import Rollback, settle
from .services import Services
from .transaction import choose_version, driver_manager


class Install:
    """One change of a host's driver."""

    def __init__(self, orders: Orders, progress: Progress) -> None:
        self.orders = orders
        self.progress = progress
        self.manager = driver_manager()
        self.installer: Path | None = None
        self.specs: list[str] = []
        self.warnings: list[str] = []
        self.services = Services(orders, self.warnings)

    def run(self) -> dict[str, Any]:
        """Do what was decided, and return the installed version and why a reboot is needed, if it is."""
        active = self.orders.action == ACTIVATE
        try:
            version = str(self.orders.installed_version) if active else self._replace()
            steps.keep_nouveau_off()
            self.progress.say("rebuilding the initramfs")
            steps.rebuild_initramfs(self.orders.booting)
            self.services.enable()
            reboot = self._activate(version)
        except BaseException as error:
            # In any case, what served before continues with the driver that is loaded.
            undo(error, self.services.start)
            raise
        record.note(self.orders.source, version, record.DONE)
        return {"changed": True, "version": version, "reboot": reboot, "warnings": self.warnings}

    def _replace(self) -> str:
        """Change the driver, and return its version; after a failure, restore the previous holds and pins."""
        rollback = Rollback(self.manager, self.orders)
        try:
            version = self._ready()
            self.progress.say("stopping the services that use the GPUs")
            self.services.stop()
            record.note(self.orders.source, version, record.CHANGING)
            self._change(version, rollback)
        except BaseException as error:
            undo(error, rollback.streams, rollback.settle, rollback.restore_record)
            raise
        settle(self.manager, version, packaged=self.installer is None, hold=self.orders.hold)
        return version

    def _ready(self) -> str:
        """Do all that can fail before anything of the driver changes, and return its exact version."""
        self.manager.require_lock(self.orders.lock_timeout, self.progress.say)
        self.manager.repair()
        steps.room(self.orders.booting)
        self._refresh()
        listed_before = set(self.manager.versions())
        # Before anything is installed: DKMS may install a kernel along with it as well.
        holds.prepare(self.manager)
        holds.release(self.manager)
        holds.hold_kernel(self.manager)
        if self.orders.source == RUNFILE:
            steps.headers(self.manager, self.orders)
            self._remember(listed_before)
            self.installer = runfile.fetch(self.orders, self.progress)
            return self.orders.version
        named = self._named()
        transaction.enable_stream(self.manager, named.streams)
        version = self._resolve(named)
        if named.dkms:
            self.progress.say(f"installing what compiles modules for kernel {self.orders.booting}")
            steps.headers(self.manager, self.orders)
        self._remember(listed_before)
        self.specs = self._specs(named, version)
        self._download(version)
        return version

    def _refresh(self) -> None:
        """Fetch the package lists: NVIDIA's must be fetched if it is used, the others may fail."""
        self.progress.say("fetching the package lists")
        if self.orders.source == NVIDIA and self.manager.origin(transaction.REPOSITORY):
            self.manager.refresh(transaction.REPOSITORY)
        if self.manager.stale(0):
            self.manager.refresh(strict=False)

    def _download(self, version: str) -> None:
        """Download the packages, unless their transaction would remove others or install a kernel."""
        transaction.pin(self.manager, version)
        allow = transaction.allowed(self.manager)
        transaction.refuse_strangers(self.manager.simulate(self.specs, allow))
        self.progress.say(f"downloading driver {version}")
        self.manager.download(self.specs, "downloading the driver", allow)

    def _named(self) -> Packages:
        orders = self.orders
        same = orders.installed_source == orders.source == DISTRIBUTION
        source = archive_driver(self.manager.versions()) if same else orders.source
        branch = int(orders.version.partition(".")[0])
        return packages(orders.system, source, branch, orders.modules, orders.booting)

    def _resolve(self, named: Packages) -> str:
        """Return the requested driver's exact version in the repository."""
        chosen = choose_version(self._offered(named.telling), self.orders.version)
        if chosen is None:
            names = transaction.branches(self.manager, named.telling)
            every = (driver_version(version) for name in names for version in self._offered(name))
            some = sorted({found for found in every if found})
            raise Fault(
                f"driver {self.orders.version} is in no repository of this host "
                f"(available: {', '.join(some) or 'none'})",
                "set nvidia_driver_version to one of these, or nvidia_driver_repository to a repository that "
                "has it",
            )
        return str(driver_version(chosen))

    def _offered(self, name: str) -> list[str]:
        """Return the versions of a package of the driver, from its own source: others use these names too."""
        return transaction.offered(self.manager, name, ours=self.orders.source == NVIDIA)

    def _specs(self, named: Packages, version: str) -> list[str]:
        """Return the packages, each at this driver's version, if it has versions of drivers at all."""
        wanted = [*named.driver, *(named.fabric if self.orders.fabric else ()), *self.orders.more_packages]
        found = []
        for name in wanted:
            offered = self._offered(name)
            exact = choose_version(offered, version)
            if exact:
                found.append(self.manager.exactly(name, exact))
            elif offered and not any(map(driver_version, offered)):
                found.append(name)
            elif name in (*named.driver[:2], *named.fabric[:1]):
                raise Fault(
                    f"the repository has {named.telling} {version}, but not {name} of that version",
                    "its mirror is incomplete: choose another nvidia_driver_version, or wait for the mirror",
                )
            else:
                self.warnings.append(f"{name} {version} is not in the repository and was left out")
        # Other installed packages of a driver are changed as well, or they would stay at their version.
        others = [name for name in self.manager.versions() if is_family(name) and name not in wanted]
        along = ((name, choose_version(self._offered(name), version)) for name in others)
        return found + [self.manager.exactly(name, exact) for name, exact in along if exact]

    def _change(self, version: str, rollback: Rollback) -> None:
        """Change packages and prove the result; a driver that is not proven is rolled back."""
        try:
            self._install(version, rollback.packages)
            if kernels.booting() != self.orders.booting:
                raise Fault(
                    f"since the driver was installed, kernel {kernels.booting()} boots next instead of "
                    f"{self.orders.booting}",
                    "apply again: the driver is then built for that kernel",
                )
            self.progress.say(f"checking the modules of driver {version}")
            dkms = self.orders.source == RUNFILE or self._named().dkms
            for kernel in self._kernels():
                steps.prove(kernel, version, self.orders, dkms=dkms)
        except BaseException as error:
            self.progress.say("rolling the driver back")
            rollback.roll_back(fault_of(error))
            raise

    def _install(self, version: str, before: dict[str, str]) -> None:
        label = f"installing driver {version} ({self.orders.modules} modules)"
        self.progress.say(label)
        if self.orders.action == MOVE:
            # Drivers of two sources overwrite each other's files.
            if self.orders.installed_source == RUNFILE:
                runfile.uninstall()
            elif before:
                transaction.remove(self.manager, before)
        if self.installer:
            runfile.install(self.installer, self.orders)
        else:
            self._remove_rivals()
            self.manager.install(self.specs, label, transaction.allowed(self.manager))

    def _remove_rivals(self) -> None:
        """Remove modules of another branch or kind where branches have packages of their own."""
        if self.manager.holds_versions:
            return
        wanted = {spec.partition("=")[0] for spec in self.specs}
        present = [name for name in self.manager.versions() if is_family(name)]
        built = [name for name in present if "dkms" in name or "kernel-source" in name]
        rivals = [name for name in built if name not in wanted]
        if rivals:
            transaction.remove(self.manager, rivals)

    def _kernels(self) -> list[str]:
        """Return the kernels that must have the module: the one that boots next, and this one if it can."""
        here, next_one = self.orders.running, self.orders.booting
        return [next_one, *([here] if here != next_one and kernels.has_headers(here) else [])]

    def _activate(self, version: str) -> str:
        """Load the driver, and return why that needs a reboot, empty if it does not."""
        self.progress.say(f"loading driver {version}")
        module, _ = kernels.loaded_driver()
        orders, here = self.orders, kernels.module(self.orders.running)
        reason = ""
        if here is None or here.version != version:
            reason = f"kernel {orders.booting} has driver {version}, and kernel {orders.running} is running"
        elif module != version:
            reason = self._switch(module)
        if reason and not orders.may_reboot:
            raise Fault(
                f"driver {version} is installed; it becomes active after a reboot: {reason}",
                f"reboot the host by hand, or {orders.reboot_step} and apply again",
            )
        if not reason:
            self.services.start()
        return reason

    def _switch(self, module: str | None) -> str:
        """Replace what is loaded; return why that cannot be done without a reboot."""
        if not reload.drop_nouveau():
            return "nouveau uses the GPUs"
        if module:
            self.services.stop()
            others = reload.strangers(self.orders.serving)
            stays = "; ".join(others) or reload.unload()
            if stays:
                return f"driver {module} cannot be unloaded: {stays}"
        reload.load()
        return ""

    def _remember(self, before: set[str]) -> None:
        """Record what was installed besides the driver, so that a removal of everything finds it."""
        new = set(self.manager.versions()) - before
        package_record.note(["nvidia_driver"], sorted(name for name in new if not is_family(name)))


ABOUT = ("verb", "asked", "version", "source", "modules")
install = job_of(Orders, lambda orders, progress: {"outcome": Install(orders, progress).run()}, *ABOUT)
