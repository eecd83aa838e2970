# SPDX-License-Identifier: Apache-2.0
"""Compare the packages of a host's container runtime with the wanted ones, and remember what was there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from ..host.fault import Fault
from ..host.json_files import read_json, write_json
from . import docker, modules, packages
from .docker import CDI, RUNTIME, Keys
from .packages import TOOLKIT, versions

LEDGER = Path("/var/lib/provision/container_runtime.json")
DOCKER, PODMAN = "docker", "podman"
# What the toolkit's packages and the daemon make beside their own files.
LEFTOVERS = (
    "/etc/nvidia-container-runtime",
    "/etc/nvidia-container-toolkit",
    "/etc/cdi",
    "/run/cdi",
    "/etc/docker",
)
# The first versions that know of CDI: moby/moby#45134 and the release notes of podman 4.1.
FIRST_WITH_CDI = {DOCKER: (25,), PODMAN: (4, 1)}


@dataclass(frozen=True)
class Wanted:
    """Describe the runtime; without GPUs that a driver offers there is no toolkit."""

    engine: str
    engine_packages: tuple[str, ...] = ()
    toolkit_version: str = ""
    cdi: bool = True
    gpus: list[dict[str, Any]] = field(default_factory=list)
    driver: str = ""
    container: bool = False

    @property
    def keys(self) -> Keys | None:
        """Return which value of daemon.json gives GPUs to containers."""
        if self.engine != DOCKER or not self.toolkit_version:
            return None
        return CDI if self.cdi else RUNTIME


class Steps:
    """Make steps, or only tell them when dry; `allow` is asked before containers are interrupted."""

    def __init__(
        self,
        wanted: Wanted,
        *,
        dry: bool,
        allow: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self.wanted, self.dry, self.allow, self.warn = wanted, dry, allow, warn
        self.ledger: dict[str, Any] = dict(read_json(LEDGER, {}))
        self.changes: list[str] = []
        self.diff: list[dict[str, str]] = []
        self.found = versions(*TOOLKIT, *wanted.engine_packages)

    def save(self) -> None:
        """Write what has to be taken back; it is on disk before anything changes."""
        if self.ledger:
            write_json(LEDGER, self.ledger, 0o600)
        else:
            LEDGER.unlink(missing_ok=True)

    def record(self, change: str, before: str = "", after: str = "") -> bool:
        """Note a change and tell whether it is to be made."""
        self.changes.append(change)
        if before or after:
            one = {"before_header": change, "after_header": change, "before": before, "after": after}
            self.diff.append(one)
        return not self.dry

    def note_absent(self) -> None:
        """Remember which leftovers will be ours: those that are not there before an installation."""
        if self.dry or "absent" in self.ledger:
            return
        self.ledger["absent"] = [name for name in LEFTOVERS if not Path(name).exists()]
        self.save()

    def missing_packages(self) -> list[str]:
        """Return what is still to be installed."""
        names = [*self.wanted.engine_packages, *(TOOLKIT if self.wanted.toolkit_version else ())]
        return [name for name in names if name not in self.found]

    def wrong_versions(self) -> list[str]:
        """Return the toolkit's packages that are there in another version."""
        version = self.wanted.toolkit_version
        return [name for name in TOOLKIT if version and self.found.get(name, version) != version]

    def missing_modules(self) -> list[str]:
        """Return the packages with what the engine needs of a machine's own kernels."""
        wanted = self.wanted
        found: list[str] = []
        if wanted.engine == DOCKER and not wanted.container and docker.uses_iptables():
            found = modules.missing_packages()
        return found

    def missing(self) -> list[str]:
        """Return everything that is still to be installed."""
        return [*self.missing_packages(), *self.missing_modules()]

    def refuse_old_engine(self) -> None:
        """Refuse an engine that knows nothing of CDI, be it installed or the one that would come."""
        wanted = self.wanted
        if not (wanted.toolkit_version and wanted.cdi and wanted.engine_packages):
            return
        package = wanted.engine_packages[0]
        version = self.found.get(package) or packages.candidate(package)
        if too_old(version, wanted.engine):
            raise Fault(*without_cdi(wanted.engine, version))

    def lock(self) -> None:
        """Have dnf take no other version of the toolkit than this one."""
        if not self.wanted.toolkit_version or packages.is_apt():
            return
        text = packages.locks()
        there = packages.toolkit_locks(text)
        lines = packages.lock_lines(self.wanted.toolkit_version)
        if there == lines:
            return
        if self.record("versions that dnf locks", listed(there), listed(lines)):
            # Only what was there before the first lock of ours is anybody else's.
            self.ledger.setdefault("locks", there)
            self.save()
            packages.write_locks(packages.with_locks(text, lines))

    def hold(self) -> None:
        """Have apt leave the toolkit's packages alone."""
        if not packages.is_apt():
            return
        loose = sorted(set(TOOLKIT) - packages.held())
        if loose and self.record("packages that apt holds", "", listed(loose)):
            self.ledger["held"] = sorted({*self.ledger.get("held", []), *loose})
            self.save()
            packages.mark("hold", loose)


def too_old(version: str, engine: str) -> bool:
    """Tell whether an engine knows nothing of CDI; one of an unknown version is taken for a new one."""
    known = tuple(int(number) for number in re.split(r"[^0-9.]", version)[0].split(".") if number)
    return bool(known) and known < FIRST_WITH_CDI[engine]


def without_cdi(engine: str, version: str) -> tuple[str, str]:
    """Return what to say of an engine that is too old, and what helps."""
    first = ".".join(map(str, FIRST_WITH_CDI[engine]))
    step = "set container_runtime_cdi to false, which gives it NVIDIA's runtime in place of CDI"
    if engine == PODMAN:
        step = "set container_runtime_engine to docker, or use a newer release of the distribution"
    return f"{engine} {version} of this host knows nothing of CDI; {first} is the first that does", step


def listed(lines: list[str]) -> str:
    """Return lines as a difference shows them."""
    return "".join(line + "\n" for line in lines)
