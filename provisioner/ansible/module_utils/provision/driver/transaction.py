# SPDX-License-Identifier: Apache-2.0
"""Define what is special about a driver's packages: their versions, pins and streams, and what must stay."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterable

from ..host.fault import Fault
from ..host.packages import Allow, Apt, Changes, Manager, User, manager
from ..host.packages.advice import KEY, NETWORK, STREAM
from ..host.paths import text_of
from ..host.settings import write_file
from .packages import KERNEL_IMAGE, STREAM_MODULE, driver_version, is_family, matches, numbers

REPOSITORY = "provision-nvidia"
NEW_KEY = (
    "the repository is not signed with the pinned key: check whether NVIDIA has announced a new key, then "
    "add its fingerprint to nvidia_driver_repository_keys"
)
USER = User(
    unit="provision-job-driver",
    steps={
        KEY: NEW_KEY,
        NETWORK: "allow access to the repository, or set nvidia_driver_repository to a mirror",
        STREAM: "a module stream hides the packages: check `dnf module list nvidia-driver` on the host, and "
        "set nvidia_driver_version to a branch that it lists",
    },
    # Packages of EPEL need some of these; they are enabled for one transaction, and stay as they are.
    repositories=("crb", "powertools"),
    mark="# provision: driver and kernel as a pair",
)
PINS = Path("/etc/apt/preferences.d/provision-nvidia-driver")
STREAM_FILE = Path(f"/etc/dnf/modules.d/{STREAM_MODULE}.module")
_BRANCH = re.compile(r"-[0-9]{3}(?=-|$)")


def driver_manager() -> Manager:
    """Return the package manager of this host, for work on its driver."""
    return manager(USER)


def allowed(packages: Manager) -> Allow:
    """Return what a change of the driver may do; dnf's locks keep the kernel, and stay in force."""
    return Allow(older=True, held=not packages.holds_versions, removal=True)


def offered(packages: Manager, name: str, *, ours: bool) -> list[str]:
    """Return the versions of a package in NVIDIA's repository that we added, or in the other ones."""
    origin = packages.origin(REPOSITORY)
    return [
        version for version, found in packages.offers(name) if not origin or found.startswith(origin) is ours
    ]


def branches(packages: Manager, name: str) -> list[str]:
    """Return the names that a package of the driver has in each branch; some distributions have only one."""
    unbranched = _BRANCH.sub("", name)
    found = packages.offered_names(unbranched.partition("-server")[0])
    return sorted(each for each in found if _BRANCH.sub("", each) == unbranched)


def choose_version(versions: list[str], wanted: str) -> str | None:
    """Return the newest of the package versions whose driver is of a branch, or of one version."""
    suitable = [version for version in versions if matches(wanted, driver_version(version))]
    return max(suitable, key=numbers, default=None)


def refuse_strangers(changes: Changes, doing: str = "installing the driver") -> None:
    """Refuse a transaction that would remove packages of no driver, or install another kernel."""
    strangers = sorted(name for name in changes.removed if not is_family(name))
    kernels = sorted(filter(KERNEL_IMAGE.match, changes.installed))
    if strangers:
        raise Fault(
            f"{doing} would remove {', '.join(strangers)}",
            "these packages need another driver or kernel: remove them by hand if they are not needed",
        )
    if kernels:
        raise Fault(
            f"{doing} would install another kernel: {', '.join(kernels)}",
            "update the host's kernel first, reboot, then apply again",
        )


def remove(packages: Manager, names: Iterable[str]) -> None:
    """Remove packages of a driver, unless packages of something else would be removed along with them."""
    refuse_strangers(Changes(removed=frozenset(packages.would_remove(names))), "removing the driver")
    packages.remove(names, "removing packages", Allow(held=True))


def pin(packages: Manager, version: str | None) -> None:
    """Keep a whole driver at one version, whatever a dependency would select; None removes the pin."""
    if not isinstance(packages, Apt):
        return  # Elsewhere, packages of one version require each other.
    write_file(str(PINS), pins(version) if version else None)


def pins(version: str) -> str:
    """Return apt preferences that keep a whole driver at one version."""
    names = "*nvidia* libcuda1* libcudadebugger1* libnvcuvid1* libnvsdm* cuda-drivers*"
    return (
        "# Written by provision: the packages of a driver work at one version only.\n"
        f"Package: {names}\nPin: version {version}-*\nPin-Priority: 1001\n"
    )


def enable_stream(packages: Manager, streams: tuple[str, ...]) -> None:
    """Enable the module stream of a branch, without which modular filtering hides its packages."""
    if not streams:
        return
    listed = set(packages.query("dnf", "-q", "module", "list", STREAM_MODULE).split())
    chosen = next((stream for stream in streams if stream in listed), "")
    if not chosen:
        raise Fault(
            f"NVIDIA's repository has none of the module streams {', '.join(streams)}",
            "choose a branch that `dnf module list nvidia-driver` lists on the host",
        )
    text = text_of(STREAM_FILE)
    if f"stream={chosen}\n" in text and "state=enabled" in text:
        return
    reset_stream(packages)
    enabled = ["dnf", "-y", "module", "enable", f"{STREAM_MODULE}:{chosen}"]
    packages.run(enabled, "enabling the module stream")


def reset_stream(packages: Manager) -> None:
    """Reset the module stream, which is of no use without a driver."""
    if STREAM_FILE.exists():
        packages.run(["dnf", "-y", "module", "reset", STREAM_MODULE], "resetting the module stream")
