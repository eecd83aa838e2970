# SPDX-License-Identifier: Apache-2.0
"""Define what is special about the packages of CUDA toolkits: what to install, and what must stay."""

from __future__ import annotations

import re

from ..driver.packages import is_family
from ..driver.transaction import NEW_KEY
from ..host.fault import Fault
from ..host.packages import Allow, Changes, Manager, User, manager
from ..host.packages.advice import KEY, UNKNOWN, VERSION
from .versions import Toolkit, suffix

USER = User(
    unit="provision-job-cuda",
    steps={
        KEY: NEW_KEY,
        UNKNOWN: "NVIDIA's repository has no such version for this distribution: change "
        "cuda_toolkit_versions, or set cuda_toolkit_source: runfile",
        VERSION: "the repository does not have this exact version: set 13.0 instead of 13.0.2 to get the "
        "newest one of the release",
    },
    # The holds of a driver follow those of others, up to the end of the list.
    first=True,
)
# Packages that install a driver, and kernels; a toolkit needs neither.
NEVER = re.compile(
    r"cuda(-[0-9]+-[0-9]+)?|cuda-(runtime|demo-suite)-.*|nvidia-fs.*|nvidia-gds.*"
    r"|linux-image-.*|kernel(-core|-modules.*|-rt.*)?"
)


def cuda_manager() -> Manager:
    """Return the package manager of this host, for work on toolkits."""
    return manager(USER)


def transaction(packages: Manager, toolkit: Toolkit) -> tuple[list[str], Allow]:
    """Return what to install for a toolkit, of an exact version any revision, and what that may do."""
    exact = packages.exactly(toolkit.package, f"{toolkit.exact}-*") if toolkit.exact else toolkit.package
    return [exact], Allow(older=bool(toolkit.exact))


def refuse_drivers(changes: Changes, toolkit: Toolkit) -> None:
    """Refuse a transaction that would change a driver or a kernel."""
    every = changes.installed | changes.removed
    wrong = sorted(name for name in every if NEVER.fullmatch(name) or is_family(name))
    if wrong:
        raise Fault(
            f"installing {toolkit} would change {', '.join(wrong)}, but a toolkit must not change a "
            "driver or a kernel: nothing was installed",
            "check what requires it with `apt-get -s install` or `dnf --assumeno install` on the host; "
            "cuda_toolkit_source: runfile installs a toolkit without the package manager",
        )


def removable(packages: Manager, release: str, ours: list[str]) -> tuple[list[str], list[str]]:
    """Return the packages that nothing else needs, or else what needs the release's own ones."""
    going = set(ours)
    shared = {name for name in going if not name.endswith(suffix(release))}
    while going:
        strangers = packages.would_remove(going) - going
        if not strangers:
            break
        # Packages that several releases share stay as long as one of these is installed.
        needed = {name for name in going & shared if packages.would_remove([name]) - going}
        if not needed:
            return [], sorted(strangers)
        going -= needed
    return sorted(going), []
