# SPDX-License-Identifier: Apache-2.0
"""Compare the packages of a container runtime with the requested ones, and change their versions."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from typing import Any

from ..host.commands import call
from ..host.fault import Fault
from ..host.packages import Allow, Manager, User, manager, record
from ..host.packages.advice import OTHER, UNKNOWN, VERSION
from ..jobs.packages import transact
from ..jobs.unit import journal_tail, wait
from . import docker, modules
from .docker import CDI, RUNTIME, Keys

# Each requires the others by "at least", so a version that is given for only one changes the rest.
TOOLKIT = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
# Docker's own packages; the distribution's would replace them.
DOCKER_CE = "docker-ce"
OF_THE_TOOLKIT = re.compile(rf"!?({'|'.join(map(re.escape, TOOLKIT))})-([0-9]+:)?[0-9*].*")
WRONG_VERSION = "check whether the repository has container_runtime_toolkit_version, then apply again"
NO_MODULES = "check whether dnf's repositories have these packages, then apply again"
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

    def wrong_versions(self) -> list[str]:
        """Return the toolkit's packages that are installed in another version."""
        version = self.wanted.toolkit_version
        return [name for name in TOOLKIT if version and self.found.get(name, version) != version]

    def differences(self) -> list[str]:
        """Describe the packages that are missing, or installed in another version."""
        missing = [*self.missing_packages(), *self.missing_modules()]
        wrong = [f"{name} is {self.found[name]}" for name in self.wrong_versions()]
        return [*wrong, *(f"{name} is missing" for name in missing)]

    def require(self) -> None:
        """Refuse to continue where the packages are not the requested ones after all."""
        wrong, version = self.differences(), self.wanted.toolkit_version
        if wrong:
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
            first = ".".join(map(str, FIRST_WITH_CDI[wanted.engine]))
            step = "set container_runtime_cdi: false to use NVIDIA's runtime instead of CDI"
            if wanted.engine == PODMAN:
                step = "set container_runtime_engine: docker, or use a newer release of the distribution"
            what = f"{wanted.engine} {version} on this host does not support CDI"
            raise Fault(f"{what}; {first} or newer is required", step)


def too_old(version: str, engine: str) -> bool:
    """Return whether an engine does not support CDI; one of an unknown version is assumed to be new."""
    known = tuple(int(number) for number in re.split(r"[^0-9.]", version)[0].split(".") if number)
    return bool(known) and known < FIRST_WITH_CDI[engine]


def toolkit_manager() -> Manager:
    """Return the package manager of this host, for work on the toolkit."""
    return manager(User(record.UNIT, dict.fromkeys((UNKNOWN, VERSION, OTHER), WRONG_VERSION)))


def versions(packages: Manager, *names: str) -> dict[str, str]:
    """Return the versions of those packages that are installed, without an epoch."""
    return {name: found.rpartition(":")[2] for name, found in packages.versions(*names).items()}


def serving(packages: Manager, engine: tuple[str, ...]) -> tuple[str, ...]:
    """Return the engine's packages: Docker's own, if installed, replace the distribution's."""
    return (DOCKER_CE,) if engine[:1] == ("docker.io",) and versions(packages, DOCKER_CE) else engine


def held(packages: Manager) -> set[str]:
    """Return the toolkit's packages that are held by name."""
    return {word.partition(":")[0] for word in packages.held()} & set(TOOLKIT)


def locked(packages: Manager) -> list[str]:
    """Return the holds of the toolkit's packages at versions, however they are written."""
    return [word for word in packages.held() if OF_THE_TOOLKIT.fullmatch(word)]


def podman_running() -> list[str]:
    """List the containers that podman runs for root."""
    if not shutil.which("podman"):
        return []
    return call("podman", "ps", "--format", "{{.Names}}").stdout.split()


def change(packages: Manager, version: str, names: list[str], poll: float) -> bool:
    """Change installed packages to a version, as a unit, and return whether that has ended."""
    # The hold is ours, and this change is about the packages that it holds; dnf's lock is of the new version.
    allow = Allow(older=True, held=not packages.holds_versions)
    script = packages.script(refresh=True, remove=False, allow=allow)
    exact = [packages.exactly(name, version) for name in names]
    what = f"change {', '.join(names)} to {version}"
    transact(packages, script, list(TOOLKIT), exact, what)
    return _has_ended(packages, what, poll)


def add_modules(names: list[str], engine: tuple[str, ...], poll: float) -> bool:
    """Install packages of the installed kernels, besides what is locked; they are removed with the engine."""
    packages = manager(User(record.UNIT, dict.fromkeys((UNKNOWN, OTHER), NO_MODULES)))
    script = packages.script(refresh=True, remove=False, allow=Allow(held=True))
    what = f"install {', '.join(names)}"
    transact(packages, script, list(engine), names, what)
    return _has_ended(packages, what, poll)


def _has_ended(packages: Manager, what: str, poll: float) -> bool:
    """Wait a little for the transaction, and return whether it has ended."""
    now = wait(record.UNIT, poll)
    if now.failed:
        tail = journal_tail(record.UNIT, 20, now.invocation)
        raise packages.failure(f"the attempt to {what} failed:\n{tail}", tail)
    return not now.running
