# SPDX-License-Identifier: Apache-2.0
"""Hold a driver and the kernel that it was built for as a pair, and keep unattended upgrades off both."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ..host.json_files import read_json, write_json
from ..host.settings import write_file
from .installed import listed
from .packages import is_family
from .process import attempt, run

LEDGER = Path("/var/lib/provision/nvidia_driver.holds.json")
UNATTENDED = "/etc/apt/apt.conf.d/51provision-nvidia"
VERSIONLOCK = Path("/etc/dnf/plugins/versionlock.list")
PLUGIN = "python3-dnf-plugin-versionlock"
# Has dnf take a version beside the locked one, which is what a newer kernel is.
UNLOCKED = "--disableplugin=versionlock"
BLACKLIST = (
    "nvidia-.*",
    "libnvidia-.*",
    "libcuda1",
    "cuda-drivers.*",
    "linux-(image|headers|modules|objects|signatures)-.*",
    "linux-(generic|virtual|aws|azure|gcp|oracle|kvm).*",
)
MARK = "# provision: driver and kernel as a pair"
APT_KERNEL = re.compile(
    r"linux-(image|headers|modules|modules-extra)-|linux-(generic|virtual|lowlatency|aws|azure|gcp|oracle|kvm)"
)
DNF_KERNEL = re.compile(
    r"kernel(-64k)?(-(core|modules|modules-core|modules-extra|devel|devel-matched|headers|uek.*))?$"
)


def wanted(packages: dict[str, str]) -> list[str]:
    """Return what is to be held: names for apt, name-epoch:version-release for dnf."""
    if shutil.which("apt-get"):
        return sorted(name for name in packages if is_family(name) or APT_KERNEL.match(name))
    held = (name for name in packages if is_family(name) or DNF_KERNEL.match(name))
    return sorted(f"{name}-{packages[name]}.*" for name in held)


def missing() -> list[str]:
    """Return what should be held and is not."""
    return sorted(set(wanted(listed())) - held())


def held() -> set[str]:
    """Return what is held now."""
    if shutil.which("apt-get"):
        return set(run(["apt-mark", "showhold"], "reading what is held").split())
    return set(_lines())


def hold() -> None:
    """Hold what is installed of the driver and of the kernel, in place of what we held before."""
    _hold(listed())


def _hold(packages: dict[str, str]) -> None:
    before = read_json(LEDGER, [])
    foreign = held() - set(before)
    ours = sorted(set(wanted(packages)) - foreign)
    # On disk first, with what is still to be let go: a run that is cut off must know what it may take back.
    write_json(LEDGER, sorted({*before, *ours}), 0o644)
    if shutil.which("apt-get"):
        stale = sorted(held() - foreign - set(ours))
        if stale:
            run(["apt-mark", "unhold", *stale], "letting go of older packages")
        if ours:
            run(["apt-mark", "hold", *ours], "holding the driver and the kernel")
        write_file(UNATTENDED, unattended())
    else:
        _write(before, ours)
    write_json(LEDGER, ours, 0o644)


def release() -> None:
    """Take back what we held, so that a transaction or somebody else can change it."""
    ours = read_json(LEDGER, [])
    if shutil.which("apt-get"):
        mine = sorted(set(ours) & held())
        if mine:
            run(["apt-mark", "unhold", *mine], "letting go of the driver and the kernel")
        write_file(UNATTENDED, None)
    else:
        _write(ours, [])
    LEDGER.unlink(missing_ok=True)


def drift(version: str | None, *, hold: bool) -> list[str]:
    """Return what should be held and is not, or is held by us and should not be."""
    if hold:
        return [f"hold {name}" for name in missing()] if version else []
    return ["hold nothing"] if LEDGER.exists() else []


def prepare() -> None:
    """Have dnf heed its list of locks, which it does by a plugin that a small host lacks."""
    if shutil.which("apt-get"):
        return
    if attempt(["dnf", "-q", "-C", "versionlock", "list"])[0]:
        run(["dnf", "-y", "install", PLUGIN], "installing the plugin that holds versions")


def hold_kernel() -> None:
    """Have dnf keep the kernel while a transaction changes the driver; apt is asked what it would do."""
    if shutil.which("apt-get"):
        return
    _hold({name: version for name, version in listed().items() if not is_family(name)})


def unattended() -> str:
    """Return what keeps unattended-upgrades off; it matches whole names."""
    lines = "".join(f'    "{pattern}";\n' for pattern in BLACKLIST)
    head = "// Written by provision: a driver and its kernel change together, by a run of it."
    return f"{head}\nUnattended-Upgrade::Package-Blacklist {{\n{lines}}};\n"


def _lines() -> list[str]:
    try:
        lines = VERSIONLOCK.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _write(before: list[str], ours: list[str]) -> None:
    """Replace our lines in the file of locks and leave the rest, which others add to and rewrite."""
    text = VERSIONLOCK.read_text(encoding="utf-8") if VERSIONLOCK.exists() else ""
    gone = {MARK, *before}
    kept = [line for line in text.splitlines() if line.strip() not in gone]
    lines = "".join(f"{line}\n" for line in [*kept, *([MARK, *ours] if ours else [])])
    if lines != text:
        write_file(str(VERSIONLOCK), lines)
