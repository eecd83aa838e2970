# SPDX-License-Identifier: Apache-2.0
"""Remember the packages of a driver before a change, and restore them when it fails."""

from __future__ import annotations

from ..gpu import kernel as kernels
from ..host.fault import Fault, fault_of
from ..host.files import keep_json, read_json
from ..host.follow import note
from ..host.packages import Manager
from ..host.paths import text_of
from ..host.settings import write_file
from . import hold as holds
from . import record, runfile, transaction
from .installed import runfile_version
from .orders import Orders
from .packages import RUNFILE, is_family
from .transaction import PINS, STREAM_FILE


class Rollback:
    """The driver of a host before a change."""

    def __init__(self, manager: Manager, orders: Orders) -> None:
        self.manager = manager
        self.orders = orders
        self.packages = self.family()
        self.stream = text_of(STREAM_FILE)
        self.pins = text_of(PINS)
        self.held = holds.LEDGER.exists()
        self.before_by_runfile = runfile_version(manager)
        self.record = read_json(record.RECORD, None)

    def family(self) -> dict[str, str]:
        """Return the installed packages of a driver with their versions."""
        return {name: version for name, version in self.manager.versions().items() if is_family(name)}

    def restore_record(self) -> None:
        """Record the previous driver again, or nothing where we had not installed it."""
        keep_json(record.RECORD, self.record, 0o644)

    def settle(self) -> None:
        """Restore pins and holds; a driver that someone else installed had none of this project."""
        if self.record:
            packaged = self.orders.installed_source != RUNFILE
            settle(self.manager, self.orders.installed_version, packaged=packaged, hold=self.orders.hold)
            return
        write_file(str(PINS), self.pins or None)
        (holds.hold if self.held else holds.release)(self.manager)

    def streams(self) -> None:
        """Restore the module stream, without which the previous packages are hidden."""
        write_file(str(STREAM_FILE), self.stream or None)

    def roll_back(self, fault: Fault) -> None:
        """Restore the previous driver; raises Fault, which begins with `fault`, if not all is restored."""
        try:
            self._restore()
        except Exception as error:
            second = fault_of(error)
            raise Fault(
                f"{fault}; and the previous driver could not be restored: {second}",
                second.next_step,
                fault.detail or second.detail,
            ) from error
        lost = self._lost()
        if lost:
            raise Fault(f"{fault}; and {lost}", fault.next_step, fault.detail)
        note("the packages are what they were before")

    def _restore(self) -> None:
        if runfile_version(self.manager) not in (None, self.before_by_runfile):
            runfile.uninstall()
        transaction.pin(self.manager, None)
        self.streams()
        new = [name for name in self.family() if name not in self.packages]
        if new:
            transaction.remove(self.manager, new)
        # Looked up again: the removal may have removed others along with them.
        now = self.family()
        changed = {name: found for name, found in self.packages.items() if now.get(name) != found}
        if changed:
            specs = [self.manager.exactly(name, found) for name, found in changed.items()]
            self.manager.install(specs, "restoring the previous driver", transaction.allowed(self.manager))

    def _lost(self) -> str:
        """Return what of the previous driver is not restored."""
        version, kernel = self.orders.installed_version, self.orders.booting
        until_boot = "the driver that is loaded works until the next boot"
        if self.before_by_runfile and runfile_version(self.manager) != self.before_by_runfile:
            return f"driver {version} of the .run installer is gone: {until_boot}"
        if self.family() != self.packages:
            return "not all of the previous packages are restored"
        module = kernels.module(kernel)
        if version and (module is None or module.version != version):
            gone = f"kernel {kernel} no longer has a module of it"
            return f"driver {version} is restored, but {gone}: {until_boot}"
        return ""


def settle(manager: Manager, version: str | None, *, packaged: bool, hold: bool) -> None:
    """Pin and hold the installed driver, or release what a failed attempt has held."""
    transaction.pin(manager, version if packaged else None)
    (holds.hold if hold and version else holds.release)(manager)
