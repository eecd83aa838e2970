# SPDX-License-Identifier: Apache-2.0
"""Keep the four packages of NVIDIA's container toolkit at exactly one version."""

from __future__ import annotations

import re
import shutil

from ..host.commands import call
from ..host.packages import Allow, Manager, User, manager, record
from ..host.packages.advice import OTHER, UNKNOWN, VERSION
from ..jobs.packages import Transaction
from ..jobs.unit import journal_tail, wait

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
    return _follow(Transaction(packages, script, list(TOOLKIT), exact, what), poll)


def add_modules(names: list[str], engine: tuple[str, ...], poll: float) -> bool:
    """Install packages of the installed kernels, besides what is locked; they are removed with the engine."""
    packages = manager(User(record.UNIT, dict.fromkeys((UNKNOWN, OTHER), NO_MODULES)))
    script = packages.script(refresh=True, remove=False, allow=Allow(held=True))
    return _follow(Transaction(packages, script, list(engine), names, f"install {', '.join(names)}"), poll)


def _follow(transaction: Transaction, poll: float) -> bool:
    """Start a transaction or attach to it, and return whether it has ended."""
    transaction.start()
    now = wait(record.UNIT, poll)
    if now.failed:
        tail = journal_tail(record.UNIT, 20, now.invocation)
        raise transaction.packages.failure(f"the attempt to {transaction.what} failed:\n{tail}", tail)
    return not now.running
