# SPDX-License-Identifier: Apache-2.0
"""Remember the packages of a driver before a change, and bring them back when it fails."""

from __future__ import annotations

from typing import Any

from ..gpu import kernel as kernels
from ..host.fault import Fault
from ..jobs.command import note
from . import hold as holds
from . import runfile
from .installed import listed, runfile_version
from .managers import PINS, STREAM, AptDriver, DnfDriver
from .packages import is_family


class Rollback:
    """What there was of a driver before a change."""

    def __init__(self, manager: AptDriver | DnfDriver, spec: dict[str, Any]) -> None:
        self.manager = manager
        self.spec = spec
        self.packages = family()
        self.stream = STREAM.read_text(encoding="ascii") if STREAM.exists() else ""
        self.pins = PINS.read_text(encoding="ascii") if PINS.exists() else ""
        self.held = holds.LEDGER.exists()
        self.before_by_runfile = runfile_version()

    def settle(self) -> None:
        """Bring pins and holds back: a driver of another hand had none of ours."""
        if self.pins:
            PINS.write_text(self.pins, encoding="ascii")
        else:
            self.manager.unpin()
        if self.held:
            holds.hold()
        else:
            holds.release()

    def streams(self) -> None:
        """Bring the module stream back, without which the packages of before are hidden."""
        if self.stream:
            STREAM.write_text(self.stream, encoding="ascii")
        elif STREAM.exists():
            STREAM.unlink()

    def take_back(self, fault: Fault) -> None:
        """Bring back what was there; raises Fault, which begins with `fault`, when it is not all back."""
        try:
            if runfile_version() not in (None, self.before_by_runfile):
                runfile.uninstall()
            self.manager.unpin()
            self.streams()
            came = [name for name in family() if name not in self.packages]
            if came:
                self.manager.remove(came)
            # Looked at again: what was removed may have taken more along.
            now = family()
            changed = {name: found for name, found in self.packages.items() if now.get(name) != found}
            if changed:
                specs = [self.manager.spec(name, found) for name, found in changed.items()]
                self.manager.install(specs, "bringing the driver of before back", erase=True)
        except Exception as second:
            step = getattr(second, "next_step", fault.next_step)
            raise Fault(
                f"{fault}\nand the driver of before could not be brought back: {second}", step
            ) from second
        self._prove(fault)
        note("the packages are what they were before")

    def _prove(self, fault: Fault) -> None:
        version, kernel = self.spec["installed_version"], self.spec["booting"]
        if self.before_by_runfile and runfile_version() != self.before_by_runfile:
            gone = f"driver {version} of the .run installer is gone"
            raise Fault(f"{fault}\nand {gone}: what is loaded goes on until the next boot", fault.next_step)
        if family() != self.packages:
            raise Fault(f"{fault}\nand the packages of before are not all back", fault.next_step)
        module = kernels.module(kernel)
        if version and (module is None or module.version != version):
            gone = f"driver {version} is back, but kernel {kernel} has no module of it any more"
            raise Fault(f"{fault}\nand {gone}: what is loaded goes on until the next boot", fault.next_step)


def family() -> dict[str, str]:
    """Return the packages of a driver with their versions."""
    return {name: version for name, version in listed().items() if is_family(name)}
