# SPDX-License-Identifier: Apache-2.0
"""Remember the packages of a driver before a change, and bring them back when it fails."""

from __future__ import annotations

from typing import Any

from ..gpu import kernel as kernels
from ..host.fault import Fault, fault_of
from ..host.json_files import read_json, write_json
from ..jobs.command import note
from . import hold as holds
from . import record, runfile
from .installed import listed, runfile_version
from .managers import PINS, STREAM, AptDriver, DnfDriver
from .packages import RUNFILE, is_family


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
        self.record = read_json(record.RECORD, None)

    def restore_record(self) -> None:
        """Note the driver of before again, or none of ours where there was none."""
        if self.record:
            write_json(record.RECORD, self.record, 0o644)
        else:
            record.RECORD.unlink(missing_ok=True)

    def settle(self) -> None:
        """Restore pins and holds; a driver that somebody else installed had none of ours."""
        if self.record:
            packaged = self.spec["installed_source"] != RUNFILE
            settle(self.manager, self.spec["installed_version"], packaged=packaged, hold=self.spec["hold"])
            return
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
        except Exception as error:
            second = fault_of(error)
            raise Fault(
                f"{fault}\nand the driver of before could not be brought back: {second}", second.next_step
            ) from error
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


def settle(manager: AptDriver | DnfDriver, version: str | None, *, packaged: bool, hold: bool) -> None:
    """Pin and hold the driver that is there, or let go of what a failed attempt has held."""
    if version and packaged:
        manager.pin(version)
    else:
        manager.unpin()
    if hold and version:
        holds.hold()
    else:
        holds.release()


def family() -> dict[str, str]:
    """Return the packages of a driver with their versions."""
    return {name: version for name, version in listed().items() if is_family(name)}
