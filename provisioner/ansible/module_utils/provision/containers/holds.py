# SPDX-License-Identifier: Apache-2.0
"""Keep the toolkit at its version, whatever an upgrade would select, and undo that."""

from __future__ import annotations

from ..driver import hold as driver_hold
from ..driver.transaction import driver_manager
from ..host.packages import Manager
from . import modules
from .ledger import Ledger, lines
from .packages import TOOLKIT, held, locked

LOCKED, HELD = "versions that dnf locks", "packages that apt holds"


class Holds:
    """The holds of the toolkit's packages."""

    def __init__(self, version: str, ledger: Ledger, manager: Manager) -> None:
        self.version = version
        self.ledger = ledger
        self.manager = manager

    def lock(self) -> None:
        """Hold the toolkit at this version, where holds are on versions and precede the packages."""
        if not (self.version and self.manager.holds_versions):
            return
        there = locked(self.manager)
        words = [f"{name}-0:{self.version}.*" for name in TOOLKIT]
        if there != words and self.ledger.plan(LOCKED, lines(there), lines(words)):
            # Only what was there before our first lock belongs to someone else.
            self.ledger.keep(locks=self.ledger.entries.get("locks", there))
            self.manager.hold(words, there)

    def hold(self) -> None:
        """Hold the toolkit's packages, where a hold is on a name."""
        if self.manager.holds_versions:
            return
        loose = sorted(set(TOOLKIT) - held(self.manager))
        if loose and self.ledger.plan(HELD, "", lines(loose)):
            self.ledger.add("held", loose)
            self.manager.hold(loose)

    def hold_modules(self) -> None:
        """Hold a kernel's modules together with the kernel that a driver was built for."""
        loose = modules.loose()
        if loose and self.ledger.plan(LOCKED, "", lines(loose)):
            driver_hold.hold(driver_manager())

    def undo(self) -> None:
        """Release what this role holds, and restore the locks that were there before."""
        ours = set(self.ledger.entries.get("held", []))
        names = sorted(ours & held(self.manager)) if ours else []
        if names and self.ledger.plan(HELD, lines(names)):
            self.manager.release(names)
        if "locks" not in self.ledger.entries:
            return
        before, there = self.ledger.entries["locks"], locked(self.manager)
        if there != before and self.ledger.plan(LOCKED, lines(there), lines(before)):
            self.manager.hold(before, there)
