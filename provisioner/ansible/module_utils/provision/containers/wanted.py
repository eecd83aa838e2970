# SPDX-License-Identifier: Apache-2.0
"""Compare the packages of a host's container runtime with the requested ones."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ..host.fault import Fault
from . import docker, modules
from .docker import CDI, RUNTIME, Keys
from .packages import TOOLKIT, toolkit_manager, versions

DOCKER, PODMAN = "docker", "podman"
# The first versions that support CDI: moby/moby#45134 and the release notes of podman 4.1.
FIRST_WITH_CDI = {DOCKER: (25,), PODMAN: (4, 1)}


@dataclass(frozen=True)
class Wanted:
    """Describe the requested runtime; without GPUs that a driver offers there is no toolkit."""

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


class Packages:
    """The packages of a runtime on a host."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.manager = toolkit_manager()
        self.found = versions(self.manager, *TOOLKIT, *wanted.engine_packages)

    def missing_packages(self) -> list[str]:
        """Return what is still to be installed."""
        names = [*self.wanted.engine_packages, *(TOOLKIT if self.wanted.toolkit_version else ())]
        return [name for name in names if name not in self.found]

    def missing_modules(self) -> list[str]:
        """Return the packages with modules that the engine needs of a machine's own kernels."""
        wanted = self.wanted
        needed = wanted.engine == DOCKER and not wanted.container and docker.uses_iptables()
        return modules.missing_packages(self.manager) if needed else []

    def missing(self) -> list[str]:
        """Return everything that is still to be installed."""
        return [*self.missing_packages(), *self.missing_modules()]

    def wrong_versions(self) -> list[str]:
        """Return the toolkit's packages that are installed in another version."""
        version = self.wanted.toolkit_version
        return [name for name in TOOLKIT if version and self.found.get(name, version) != version]

    def require(self) -> None:
        """Refuse to continue where the packages are not the requested ones after all."""
        wrong = [f"{name} is {self.found[name]}" for name in self.wrong_versions()]
        wrong += [f"{name} is missing" for name in self.missing()]
        if wrong:
            version = self.wanted.toolkit_version
            pinned = f", but container_runtime_toolkit_version is {version}" if version else ""
            raise Fault(
                f"{', '.join(wrong)}{pinned}",
                "apply again; if the repository does not have that version, choose one that it has",
            )

    def refuse_old_engine(self) -> None:
        """Refuse an engine that does not support CDI, whether it is installed or would be."""
        wanted = self.wanted
        if not (wanted.toolkit_version and wanted.cdi and wanted.engine_packages):
            return
        package = wanted.engine_packages[0]
        version = self.found.get(package) or self.manager.candidate(package).rpartition(":")[2]
        if too_old(version, wanted.engine):
            raise without_cdi(wanted.engine, version)


def too_old(version: str, engine: str) -> bool:
    """Return whether an engine does not support CDI; one of an unknown version is assumed to be new."""
    known = tuple(int(number) for number in re.split(r"[^0-9.]", version)[0].split(".") if number)
    return bool(known) and known < FIRST_WITH_CDI[engine]


def without_cdi(engine: str, version: str) -> Fault:
    """Return the fault of an engine that is too old."""
    first = ".".join(map(str, FIRST_WITH_CDI[engine]))
    step = "set container_runtime_cdi: false to use NVIDIA's runtime instead of CDI"
    if engine == PODMAN:
        step = "set container_runtime_engine: docker, or use a newer release of the distribution"
    return Fault(f"{engine} {version} on this host does not support CDI; {first} or newer is required", step)
