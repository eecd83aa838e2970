# SPDX-License-Identifier: Apache-2.0
"""Hold a driver and the kernel that it was built for as a pair, and keep unattended upgrades off both."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping

from ..host.files import read_json, write_json
from ..host.packages import Apt, Dnf, Manager
from ..host.packages.dnf import VERSIONLOCK_PLUGIN, refuse_dnf5
from ..host.settings import write_file
from .packages import KERNEL, is_family

LEDGER = Path("/var/lib/provision/nvidia_driver.holds.json")
UNATTENDED = "/etc/apt/apt.conf.d/51provision-nvidia"
# unattended-upgrades matches whole names.
BLACKLIST = (
    "nvidia-.*",
    "libnvidia-.*",
    "libcuda1",
    "cuda-drivers.*",
    "linux-(image|headers|modules|objects|signatures)-.*",
    "linux-(generic|virtual|aws|azure|gcp|oracle|kvm).*",
)
UNATTENDED_TEXT = (
    "// Written by provision: a driver and its kernel change together, by a run of it.\n"
    "Unattended-Upgrade::Package-Blacklist {\n"
    + "".join(f'    "{pattern}";\n' for pattern in BLACKLIST)
    + "};\n"
)


def wanted(packages: Manager, versions: Mapping[str, str]) -> list[str]:
    """Return the holds of a driver and a kernel, of those among the installed packages."""
    pair = {name: version for name, version in versions.items() if is_family(name) or KERNEL.match(name)}
    return sorted(packages.hold_words(pair))


def missing(packages: Manager) -> list[str]:
    """Return which holds are missing."""
    return sorted(set(wanted(packages, packages.versions())) - set(packages.held()))


def hold(packages: Manager, versions: Mapping[str, str] | None = None) -> None:
    """Hold what is installed of the driver and of the kernel, instead of what we held before."""
    before = read_json(LEDGER, [])
    foreign = set(packages.held()) - set(before)
    ours = sorted(set(wanted(packages, packages.versions() if versions is None else versions)) - foreign)
    # On disk first, with what is still to be released: an interrupted run must know what it may undo.
    write_json(LEDGER, sorted({*before, *ours}), 0o644)
    packages.hold(ours, before)
    if isinstance(packages, Apt):
        write_file(UNATTENDED, UNATTENDED_TEXT)
    write_json(LEDGER, ours, 0o644)


def release(packages: Manager) -> None:
    """Remove our holds, so that the driver and the kernel can be changed."""
    packages.release(read_json(LEDGER, []))
    if isinstance(packages, Apt):
        write_file(UNATTENDED, None)
    LEDGER.unlink(missing_ok=True)


def drift(packages: Manager, version: str | None, *, wants_hold: bool) -> list[str]:
    """Return which holds are missing, or that ours must be removed."""
    if wants_hold:
        return [f"hold {name}" for name in missing(packages)] if version else []
    return ["hold nothing"] if LEDGER.exists() else []


def prepare(packages: Manager) -> None:
    """Install the plugin without which dnf ignores its list of locks; small hosts do not have it."""
    if isinstance(packages, Dnf):
        refuse_dnf5()
    if isinstance(packages, Dnf) and packages.attempt(["dnf", "-q", "-C", "versionlock", "list"])[0]:
        packages.install([VERSIONLOCK_PLUGIN], "installing the plugin that holds versions")


def hold_kernel(packages: Manager) -> None:
    """Hold the kernel while the driver changes, where holds are stronger than a simulation."""
    if packages.holds_versions:
        hold(packages, {name: found for name, found in packages.versions().items() if not is_family(name)})
