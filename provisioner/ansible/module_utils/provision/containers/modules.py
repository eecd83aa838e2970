# SPDX-License-Identifier: Apache-2.0
"""Find the packages of Red Hat's kernels with the kernel module that Docker needs."""

from __future__ import annotations

from ..driver import hold as driver_hold
from ..driver.transaction import driver_manager
from ..gpu import kernel as kernels
from ..host.commands import call
from ..host.fault import Fault
from ..host.packages import Apt, Manager
from ..host.packages.dnf import UNLOCKED

# Without it iptables has no rule by the type of an address, and the daemon does not start. In Red Hat 10 it
# is in a separate package: docker/docker-ce-packaging, issue 1340.
MODULE = "xt_addrtype"
PART = "modules-extra"


def missing_packages(packages: Manager) -> list[str]:
    """Return the packages with the module for the kernels that run now and boot next, where they lack it."""
    if isinstance(packages, Apt):
        return []
    return [
        kernels.package(PART, kernel)
        for kernel in dict.fromkeys((kernels.running(), kernels.booting()))
        # It finds a module in a file as well as one that is built in.
        if call("modinfo", "-k", kernel, "-n", MODULE).returncode
    ]


def refuse_missing(packages: Manager, names: list[str]) -> None:
    """Refuse kernels whose package is no longer in any repository, before Docker is installed."""
    for name in names:
        why = packages.unavailable(name)
        if why:
            kernel = name.partition(f"-{PART}-")[0]
            raise Fault(
                f"Docker does not start without the kernel module {MODULE}, which is in {name}, but dnf "
                f"finds that in no repository ({why}); nothing of Docker was changed",
                f"run `dnf {UNLOCKED} upgrade {kernel}` and reboot, then apply again, or set "
                "container_runtime_engine: podman, which does not need this module",
            )


def loose() -> list[str]:
    """Return the locks that are missing on these packages while the rest of the kernel is locked."""
    if not driver_hold.LEDGER.exists():
        return []
    packages = driver_manager()
    missing = driver_hold.missing(packages) if packages.holds_versions else []
    return [word for word in missing if f"-{PART}-" in word]
