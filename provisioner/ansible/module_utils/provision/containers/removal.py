# SPDX-License-Identifier: Apache-2.0
"""Take back what the container runtime's role has made, and nothing of anybody else."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..gpu import containers as container_gpu
from ..host.settings import read_file, write_file
from . import cdi, docker, packages, selinux
from .docker import CDI, RUNTIME
from .packages import TOOLKIT
from .settings import PERMISSION, Settings, systemctl
from .steps import DOCKER, PODMAN, Wanted, listed

# These may hold what others put there; they go when nothing is in them.
SHARED = ("/etc/cdi", "/run/cdi", "/etc/docker")
ENGINES = {DOCKER: {"docker.io", "docker-ce"}, PODMAN: {"podman"}}
RUNNING = {DOCKER: docker.running, PODMAN: packages.podman_running}
# Whatever the inventory says now: a host may have had either.
ANY = Wanted(DOCKER, tuple(sorted(ENGINES[DOCKER] | ENGINES[PODMAN])))


class Removal(Settings):
    """Take settings back, before the packages go and after."""

    def take_back(self) -> None:
        """Take back everything that is no package, while the packages are still there to do it."""
        self.let_go()
        self.unlock()
        rule = self.ledger.get("rule")
        if rule and read_file(rule) == cdi.RULE_TEXT and self.record(rule, cdi.RULE_TEXT):
            write_file(rule, None)
            cdi.tell_udev()
        # The packages take their units along; those of somebody else's toolkit stay, as they were.
        for unit in self.ledger.get("units", []):
            if cdi.is_on(unit) and self.record(f"{unit} off"):
                systemctl("disable", unit)
        for name in list(self.ledger.get("made", [])):
            self.drop(name)
        for permission in self.ledger.get("selinux", []):
            if selinux.is_set(permission) and self.record(PERMISSION):
                selinux.put(permission, on=False)
        for keys in (CDI, RUNTIME):
            self.give_back(keys)
        if not self.dry and not self.goes(DOCKER):
            self.restart_docker(docker.info())

    def goes(self, engine: str) -> bool:
        """Tell whether an engine's packages are ours, and so will be removed."""
        return bool(packages.brought() & ENGINES[engine] & set(self.found))

    def ask(self) -> None:
        """Ask before containers lose what they run on."""
        if packages.brought() & set(self.found):
            for one in container_gpu.gpu_containers():
                self.allow(
                    f"remove the container toolkit, which may take the GPUs from {container_gpu.named(one)}"
                )
        for engine, running in RUNNING.items():
            containers = running() if self.goes(engine) else []
            if containers:
                self.allow(f"remove {engine}, which stops {', '.join(sorted(containers))}")

    def let_go(self) -> None:
        """Let go of the packages that this role holds."""
        if not packages.is_apt():
            return
        names = sorted(set(self.ledger.get("held", [])) & packages.held())
        if names and self.record("packages that apt holds", listed(names)):
            packages.mark("unhold", names)

    def unlock(self) -> None:
        """Give dnf's list of locked versions the lines back that it had."""
        if "locks" not in self.ledger:
            return
        text, before = packages.locks(), self.ledger["locks"]
        there = packages.toolkit_locks(text)
        if there != before and self.record("versions that dnf locks", listed(there), listed(before)):
            packages.write_locks(packages.with_locks(text, before))

    def forget(self) -> None:
        """Remove what the packages left behind that was not there before, and the notes of it."""
        toolkit = any(name in self.found for name in TOOLKIT)
        for name in self.ledger.get("absent", []):
            path = Path(name)
            if not path.is_dir() or (toolkit and name != "/etc/docker"):
                continue
            if name in SHARED:
                # What the toolkit's own unit has made there.
                made = cdi.PASSING
                if not toolkit and path == made.parent and made.exists() and self.record(f"removed {made}"):
                    made.unlink()
                if not any(path.iterdir()) and self.record(f"removed {name}"):
                    path.rmdir()
            elif self.record(f"removed {name}"):
                shutil.rmtree(name)
        if not self.dry:
            self.ledger.clear()
            self.save()
