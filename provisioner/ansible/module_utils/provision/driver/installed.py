# SPDX-License-Identifier: Apache-2.0
"""Find which driver is installed on a host, from which source, and whether more than one is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from ..host.packages import Manager
from .packages import DISTRIBUTION, NVIDIA, RUNFILE, System, driver_version, is_core, is_family, numbers

UNINSTALLER = Path("/usr/bin/nvidia-uninstall")
LIBRARIES = ("usr/lib/*-linux-gnu", "usr/lib64", "usr/lib")
NONE, MIXED, FOREIGN = "none", "mixed", "foreign"
# Ubuntu's archive counts its own revisions so; NVIDIA's packages for Ubuntu end in ubuntu1.
UBUNTU_REVISION = re.compile(r"-[0-9]+ubuntu0\.")
# What tells a driver's version, the best first; prebuilt modules count as their kernel does.
TELLING = (
    "libnvidia-compute|nvidia-driver-cuda$|libcuda1",
    "nvidia-(headless-)?(no-dkms|dkms|utils|kernel)|kmod-nvidia|libnvidia-ml",
    "",
)
# Tools for the desktop, which work with other drivers too.
APART = re.compile(r"nvidia-(settings|xconfig|firmware)")
NVIDIA_ON_DEBIAN = ("nvidia-driver-cuda", "nvidia-kernel-open-dkms", "libnvidia-ml1")


@dataclass(frozen=True)
class Installed:
    """Describe the driver on a host: its packages with their versions, and its own version."""

    origin: str = NONE
    version: str | None = None
    packages: dict[str, str] = field(default_factory=dict)

    @property
    def branch(self) -> int | None:
        """Return the number of its branch."""
        return int(self.version.split(".")[0]) if self.version else None


def installed(system: System, packages: Manager, root: Path = Path("/")) -> Installed:
    """Return the driver that is installed."""
    return judge(system, packages.versions(), runfile_version(packages, root))


def judge(system: System, packages: dict[str, str], by_runfile: str | None) -> Installed:
    """Decide where a driver came from, by the packages of its family and the installer's own mark."""
    family = {name: version for name, version in packages.items() if is_family(name)}
    whole = any(map(is_core, family))
    if by_runfile:
        return Installed(MIXED, by_runfile, family) if whole else Installed(RUNFILE, by_runfile)
    if not whole:
        return Installed()
    return Installed(_origin(system, family), _version(family), family)


def strays(driver: Installed) -> list[str]:
    """Return which packages of NVIDIA's are not of the driver's version, though they come and go together."""
    if driver.origin != NVIDIA:
        return []  # distributions count some of theirs by themselves
    return [
        f"{name} is of version {found}, but the driver of {driver.version}"
        for name, version in sorted(driver.packages.items())
        if (found := driver_version(version)) and found != driver.version and not _apart(name, driver)
    ]


def _apart(name: str, driver: Installed) -> bool:
    """Return whether a package may be of another version: a tool, or one that an older branch left behind."""
    branch = re.search(r"-([0-9]{3})(-|$)", name)
    return bool(APART.match(name)) or bool(branch and int(branch.group(1)) != driver.branch)


def _version(family: dict[str, str]) -> str | None:
    """Return the driver's version: that of its libraries, whatever else of it has moved by itself."""
    for pattern in TELLING:
        texts = [driver_version(text) for name, text in family.items() if re.match(pattern, name)]
        found = [str(version) for version in texts if version]
        if found:
            return max(found, key=numbers)
    return None


def runfile_version(packages: Manager, root: Path = Path("/")) -> str | None:
    """Return the version of a driver that NVIDIA's .run installer installed, which adds an uninstaller."""
    if not (root / UNINSTALLER.relative_to("/")).exists() or packages.owns(UNINSTALLER):
        return None
    found = [
        path.name.partition(".so.")[2]
        for place in LIBRARIES
        for path in root.glob(f"{place}/libnvidia-ml.so.[0-9][0-9]*.*")
    ]
    return max(found, key=numbers, default="unknown")


def _origin(system: System, family: dict[str, str]) -> str:
    if system.family == "redhat":
        # NVIDIA's drivers have the epoch 3, the services of its fabric none; others use these names too.
        ours = [
            version for name, version in family.items() if name.startswith(("nvidia-driver", "kmod-nvidia"))
        ]
        # Without one of these, an installation was cut off; by its libraries it can still be told.
        ours = ours or [version for version in family.values() if version.startswith("3:")]
        return str(NVIDIA) if ours and all(version.startswith("3:") for version in ours) else FOREIGN
    if system.id == "debian":
        return str(NVIDIA) if any(name in family for name in NVIDIA_ON_DEBIAN) else str(DISTRIBUTION)
    server = any("-server" in name for name in family)
    archive = any(UBUNTU_REVISION.search(version) for version in family.values())
    return str(DISTRIBUTION) if server or archive else str(NVIDIA)
