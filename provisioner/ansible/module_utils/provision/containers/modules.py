# SPDX-License-Identifier: Apache-2.0
"""Know the kernel module that Docker needs, and the packages of Red Hat's kernels that have it."""

from __future__ import annotations

from ..driver import hold as holds
from ..gpu import kernel as kernels
from ..host.commands import call
from ..host.fault import Fault
from .packages import is_apt

# Without it iptables has no rule by the type of an address, and the daemon does not start. Red Hat 10 has
# it in a package of its own: docker/docker-ce-packaging, issue 1340.
MODULE = "xt_addrtype"
PART = "modules-extra"
LIST_SECONDS = 300


def missing_packages() -> list[str]:
    """Return the packages with the module for the kernels that run now and boot next, where they lack it."""
    if is_apt():
        return []
    lacking = [kernel for kernel in dict.fromkeys((kernels.running(), kernels.booting())) if lacks(kernel)]
    return [kernels.package(PART, kernel) for kernel in lacking]


def lacks(kernel: str) -> bool:
    """Tell whether a kernel has the module neither in a file nor built in."""
    return bool(call("modinfo", "-k", kernel, "-n", MODULE).returncode)


def refuse_missing(packages: list[str]) -> None:
    """Refuse kernels whose package is in no repository any more, before Docker is brought."""
    for name in packages:
        argv = ("dnf", "-q", holds.UNLOCKED, "list", "--showduplicates", name)
        done = call(*argv, seconds=LIST_SECONDS)
        if done.returncode:
            kernel = name.partition(f"-{PART}-")[0]
            said = (done.stderr.strip() or "it says nothing").splitlines()[-1]
            raise Fault(
                f"Docker does not start without the kernel module {MODULE}, which is in {name}, and dnf "
                f"finds that in no repository ({said}); nothing of Docker was changed",
                f"bring the kernel up to date and reboot (`dnf {holds.UNLOCKED} upgrade {kernel}`), then "
                "apply again, or set container_runtime_engine to podman, which needs no such module",
            )


def loose() -> list[str]:
    """Return the locks that are to hold these packages as they hold the rest of the kernel."""
    if is_apt() or not holds.LEDGER.exists():
        return []
    return [line for line in holds.missing() if f"-{PART}-" in line]
