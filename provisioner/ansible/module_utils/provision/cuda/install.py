# SPDX-License-Identifier: Apache-2.0
"""Install CUDA toolkits on a host, and remove those that we installed and are no longer requested.

It is the program `cuda-toolkit-<digest>.pyz` on a host, with a verb and SPEC.
"""

from __future__ import annotations

import shutil
from functools import partial
from typing import Any

from ..host.fault import Fault, undo
from ..host.paths import remove
from ..jobs.orders import job_of
from ..jobs.program import Program
from ..jobs.progress import Progress
from . import packages as cuda_packages
from .orders import Orders
from .place import MARKER, forget_alternative, is_bare
from .runfile import Runfiles
from .versions import PACKAGES, RUNFILE, Toolkit, suffix

LISTS_SECONDS = 86400


class Install:
    """The change of one host's toolkits."""

    def __init__(self, orders: Orders, progress: Progress) -> None:
        self.orders = orders
        self.progress = progress
        self.layout = orders.layout
        self.runfiles = Runfiles(orders, progress)
        self.packages = cuda_packages.cuda_manager()

    def run(self) -> dict[str, Any]:
        """Remove, then install: a new toolkit may be in the directory of an old one."""
        # Nothing is removed before its replacement is on the host and complete.
        self.runfiles.fetch([one for one in self.orders.install if one.source == RUNFILE])
        for release in self.orders.remove:
            self.remove(release)
        for toolkit in self.orders.install:
            if toolkit.source == PACKAGES:
                self.from_packages(toolkit)
            else:
                self.runfiles.install(toolkit)
        return {"changed": True}

    def remove(self, release: str) -> None:
        """Remove a toolkit that we installed."""
        entry, place = self.layout.entry(release), self.layout.directory(release)
        if not entry:
            return  # these orders were carried out between two looks at them
        self.progress.say(f"removing CUDA {release}")
        if entry.get("source") == RUNFILE:
            if not place.is_symlink():
                remove(place, MARKER)
            forget_alternative(place)
        else:
            self.purge(release, entry)
        self.layout.note(release, None)

    def purge(self, release: str, entry: dict[str, Any]) -> None:
        """Remove the packages that were installed with a release and that nothing else needs."""
        found = self.packages.versions()
        ours = [name for name in entry.get("packages", []) if name in found]
        self.packages.require_lock(self.orders.lock_timeout, self.progress.say)
        going, _ = cuda_packages.removable(self.packages, release, ours)
        held = entry.get("held", [])
        try:
            self.packages.release(held)
            if going:
                self.packages.repair()
                self.packages.remove(going, f"removing CUDA {release}")
        except BaseException as error:
            undo(error, partial(self.packages.hold, held))
            raise
        if is_bare(self.layout.directory(release)):
            shutil.rmtree(str(self.layout.directory(release)), ignore_errors=True)
        self.inherit(release, sorted(set(ours) - set(going)))

    def inherit(self, release: str, left: list[str]) -> None:
        """Record the packages that stay for another release under that one."""
        for other, entry in self.layout.entries().items():
            if other != release and entry["source"] == PACKAGES and left:
                both = sorted({*entry["packages"], *left})
                self.layout.note(other, dict(entry, packages=both))
                return

    def from_packages(self, toolkit: Toolkit) -> None:
        """Install a toolkit with the package manager, unless a driver would be changed along with it."""
        self.progress.say(f"{toolkit}: checking what the package manager would do")
        self.packages.require_lock(self.orders.lock_timeout, self.progress.say)
        self.packages.repair()
        if self.packages.stale(LISTS_SECONDS):
            self.progress.say("fetching the package lists")
            self.packages.refresh()
        held = self.layout.entry(toolkit.release).get("held", [])
        # Held packages can be neither changed nor simulated.
        try:
            self.packages.release(held)
            note = self.transact(toolkit, held)
        except BaseException as error:
            undo(error, partial(self.packages.hold, held))
            raise
        found = self.packages.versions()
        if toolkit.package not in found:
            raise Fault(
                f"the package manager reported success, but {toolkit.package} is not installed",
                f"read 'journalctl -u {cuda_packages.USER.unit}' on the host",
            )
        note["packages"] = [name for name in note["packages"] if name in found]
        note["held"] = self.hold(toolkit, note["packages"], found)
        self.layout.note(toolkit.release, note)

    def transact(self, toolkit: Toolkit, held: list[str]) -> dict[str, Any]:
        """Install the packages of a toolkit, and return what to record of them."""
        before = self.packages.versions()
        specs, allow = cuda_packages.transaction(self.packages, toolkit)
        changes = self.packages.simulate(specs, allow)
        cuda_packages.refuse_drivers(changes, toolkit)
        entry = self.layout.entry(toolkit.release)
        ours = sorted({*entry.get("packages", []), *(changes.installed - set(before))})
        note = {"source": PACKAGES, "version": toolkit.exact, "packages": ours, "held": held}
        self.layout.note(toolkit.release, dict(note, unfinished=True))
        self.progress.say(f"installing {toolkit}")
        self.packages.install(specs, f"installing {toolkit}", allow)
        return note

    def hold(self, toolkit: Toolkit, ours: list[str], found: dict[str, str]) -> list[str]:
        """Hold an exact version with the parts of its release, and return the holds."""
        if not toolkit.exact:
            return []
        own = {name for name in found if name.endswith(suffix(toolkit.release)) and name in ours}
        words = sorted(self.packages.hold_words({name: found[name] for name in {*own, toolkit.package}}))
        # Ours were released before, so what is on hold now is someone else's and stays so after a removal.
        words = [word for word in words if word not in self.packages.held()]
        self.packages.hold(words)
        return words


change = job_of(Orders, lambda orders, progress: Install(orders, progress).run(), "order")
PROGRAM = Program("cuda-toolkit", __name__, {"bring": change})
install, main = PROGRAM.install, PROGRAM.main
