# SPDX-License-Identifier: Apache-2.0
"""Make GPUs available to containers: by CDI, by links in /dev/char and by SELinux; and undo that."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from ..host.settings import read_file, write_file
from ..host.systemd import systemctl
from . import cdi, docker, selinux
from .ledger import Ledger
from .packages import DOCKER, Wanted

PERMISSION = "SELinux's permission for containers to use GPUs"
WITHOUT_PERMISSION = (
    "SELinux is on, and its policy has no permission for containers to use devices: update "
    "container-selinux, or run containers that use GPUs with --security-opt label=disable"
)


class Devices:
    """What containers use GPUs through, besides the engine's own settings."""

    def __init__(self, wanted: Wanted, ledger: Ledger, warn: Callable[[str], None]) -> None:
        self.wanted = wanted
        self.ledger = ledger
        self.warn = warn

    def link(self) -> None:
        """Prevent systemd from removing GPUs from containers when it reloads."""
        # The devices of a container belong to the machine below it.
        if self.wanted.container:
            return
        path, rule = str(cdi.RULE), cdi.RULE_TEXT
        text = read_file(path)
        if text != rule and self.ledger.plan(path, text or "", rule):
            self.ledger.keep(rule=path)
            write_file(path, rule)
            cdi.reload_udev()
        left = cdi.unlinked()
        if left and left != self.ledger.entries.get("unlinkable") and self.ledger.plan("links in /dev/char"):
            wrong = cdi.link()
            if wrong:
                # Reported once: the next run cannot do more about it.
                self.ledger.keep(unlinkable=cdi.unlinked())
                self.warn(f"systemctl daemon-reload may remove GPUs from containers: {wrong}")

    def enable_units(self) -> None:
        """Have the toolkit's own units keep the CDI specification up to date."""
        for unit in cdi.units():
            if not cdi.is_enabled(unit) and self.ledger.plan(f"enable {unit}"):
                self.ledger.add("units", [unit])
                systemctl("enable", unit)
                if unit == cdi.WATCHER:
                    systemctl("start", unit)

    def specify(self) -> None:
        """Make every GPU available to containers by its UUID."""
        kept = str(cdi.KEPT)
        if kept in self.ledger.entries.get("made", []) and cdi.PASSING.exists():
            # The toolkit's own units work by now, and two specifications of one GPU contradict each other.
            self.drop(kept)
        wrong = cdi.fault_of(self.wanted.gpus, self.wanted.driver)
        if wrong and self.ledger.plan(f"CDI specification: {wrong}"):
            made = cdi.generate(self.wanted.gpus, self.wanted.driver)
            if made:
                self.ledger.add("made", [str(made)])

    def drop(self, made: str) -> None:
        """Remove a specification that we wrote."""
        path = Path(made)
        if path.exists() and self.ledger.plan(f"remove {made}"):
            path.unlink()
        if not self.ledger.dry:
            self.ledger.entries["made"].remove(made)
            self.ledger.save()

    def permit(self, *, complete: bool) -> None:
        """Allow containers to use the GPUs if SELinux prevents that; `complete` if no package is missing."""
        if not self.is_confined() or selinux.is_allowed():
            return
        name = selinux.permission()
        # The policy of containers is installed with the engine.
        if not name and complete:
            self.warn(WITHOUT_PERMISSION)
        elif self.ledger.plan(PERMISSION, *([f"{name} = off\n", f"{name} = on\n"] if name else [])):
            self.ledger.add("selinux", [name])
            selinux.put(name, on=True)

    def is_confined(self) -> bool:
        """Return whether SELinux confines containers: those of Docker only where daemon.json says so."""
        if self.wanted.container or not selinux.is_on():
            return False
        return self.wanted.engine != DOCKER or docker.is_confined(docker.info())

    def undo(self) -> None:
        """Undo all of it, while the packages are still installed."""
        entries = self.ledger.entries
        rule = entries.get("rule")
        if rule and read_file(rule) == cdi.RULE_TEXT and self.ledger.plan(rule, cdi.RULE_TEXT):
            write_file(rule, None)
            cdi.reload_udev()
        # The units are removed with their packages; those of someone else's toolkit stay as they were.
        for unit in entries.get("units", []):
            if cdi.is_enabled(unit) and self.ledger.plan(f"disable {unit}"):
                systemctl("disable", unit)
        for made in list(entries.get("made", [])):
            self.drop(made)
        for name in entries.get("selinux", []):
            if selinux.is_set(name) and self.ledger.plan(PERMISSION):
                selinux.put(name, on=False)
