# SPDX-License-Identifier: Apache-2.0
"""Configure a host's container runtime, and undo what this role has made and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Callable

from ..gpu import containers
from ..host.packages import record
from . import cdi, docker, packages
from .daemon import Daemon
from .devices import Devices
from .holds import Holds
from .ledger import Ledger
from .packages import DOCKER, PODMAN, TOOLKIT, Packages, Wanted

# What the toolkit's packages and the daemon write besides their own files. Others may have put files into the
# shared ones, which are removed when they are empty.
SHARED = ("/etc/cdi", "/run/cdi", "/etc/docker")
LEFTOVERS = ("/etc/nvidia-container-runtime", "/etc/nvidia-container-toolkit", *SHARED)
ENGINES = {DOCKER: {"docker.io", "docker-ce"}, PODMAN: {"podman"}}
# Whatever the inventory says now: a host may have had either.
ANY = Wanted(DOCKER, tuple(sorted(ENGINES[DOCKER] | ENGINES[PODMAN])))


class Runtime:
    """A host's container runtime; `allow` is called before containers are interrupted."""

    def __init__(
        self, wanted: Wanted, *, dry: bool, allow: Callable[[str], None], warn: Callable[[str], None]
    ) -> None:
        self.wanted = wanted
        self.allow = allow
        self.ledger = Ledger(dry=dry)
        self.packages = Packages(wanted)
        self.holds = Holds(wanted.toolkit_version, self.ledger, self.packages.manager)
        self.devices = Devices(wanted, self.ledger, warn)
        self.daemon = Daemon(wanted.keys, self.ledger, allow)

    def note_absent(self) -> None:
        """Remember which leftovers will be ours: those that are absent before an installation."""
        if not self.ledger.dry and "absent" not in self.ledger.entries:
            self.ledger.keep(absent=[name for name in LEFTOVERS if not Path(name).exists()])

    def settle(self) -> None:
        """Make all settings, in the order in which one needs the other."""
        wanted, toolkit = self.wanted, bool(self.wanted.toolkit_version)
        if toolkit:
            self.holds.hold()
            self.devices.link()
            if wanted.cdi:
                self.devices.enable_units()
        if wanted.engine == DOCKER:
            self.holds.hold_modules()
            self.daemon.settle(installed=wanted.engine_packages[0] in self.packages.found)
        if toolkit:
            if wanted.cdi:
                self.devices.specify()
            # Last, when every device exists.
            self.devices.permit(complete=not self.packages.missing_packages())

    def ask(self) -> None:
        """Ask before containers lose what they run on."""
        if record.installed_for([]) & set(self.packages.found):
            for one in containers.gpu_containers():
                name = containers.named(one)
                self.allow(f"remove the container toolkit, which may remove the GPUs from {name}")
        for engine, running in ((DOCKER, docker.running), (PODMAN, packages.podman_running)):
            names = running() if self.goes(engine) else []
            if names:
                self.allow(f"remove {engine}, which stops {', '.join(sorted(names))}")

    def goes(self, engine: str) -> bool:
        """Return whether an engine's packages are ours, and so will be removed."""
        return bool(record.installed_for([]) & ENGINES[engine] & set(self.packages.found))

    def undo(self) -> None:
        """Undo everything but packages, while these are still installed and can do it."""
        self.holds.undo()
        self.devices.undo()
        self.daemon.undo(stays=not self.goes(DOCKER))

    def forget(self) -> None:
        """Remove what the packages have left and was not there before, and the ledger."""
        toolkit = any(name in self.packages.found for name in TOOLKIT)
        for name in self.ledger.entries.get("absent", []):
            path = Path(name)
            if not path.is_dir() or (toolkit and name != "/etc/docker"):
                continue
            if name in SHARED:
                # The toolkit's own unit has written it.
                made = cdi.PASSING
                ours = not toolkit and path == made.parent and made.exists()
                if ours and self.ledger.plan(f"remove {made}"):
                    made.unlink()
                if not any(path.iterdir()) and self.ledger.plan(f"remove {name}"):
                    path.rmdir()
            elif self.ledger.plan(f"remove {name}"):
                shutil.rmtree(name)
        if not self.ledger.dry:
            self.ledger.entries.clear()
            self.ledger.save()
