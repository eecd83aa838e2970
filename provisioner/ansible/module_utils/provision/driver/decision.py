# SPDX-License-Identifier: Apache-2.0
"""Decide what to do with a host's driver, or why nothing can be done, by what was found; pure."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from typing import Any

from ..gpu.choice import choose
from ..gpu.kernel import KernelModule
from ..host.fault import Fault
from .installed import FOREIGN, MIXED, NONE, Installed
from .packages import DISTRIBUTION, NVIDIA, System, matches

AUTO, CONSENT = "auto", "consent"
KEEP, INSTALL, CHANGE, MOVE, REPAIR, ACTIVATE = "keep", "install", "change", "move", "repair", "activate"
# The second makes what DKMS would make: its own command for that is in its newer versions alone.
MAKE_KEY = {
    True: "`update-secureboot-policy --new-key`",
    False: "`mkdir -p /var/lib/dkms && openssl req -new -x509 -newkey rsa:2048 -nodes -days 36500 -subj "
    "'/CN=DKMS module signing key' -keyout /var/lib/dkms/mok.key -outform DER -out /var/lib/dkms/mok.pub`",
}
SIGN = (
    "have DKMS sign the modules with an enrolled key: run {make}, then `mokutil --import "
    "{key}`, reboot, choose 'Enroll MOK' on the console, and apply again; or switch Secure Boot off in the "
    "firmware"
)
PREBUILT = "; or set nvidia_driver_source: distribution, whose modules are signed already"

# Why no reboot can follow, and what would make one possible.
NO_REBOOT = {
    "never": ("nvidia_driver_reboot is never", "set nvidia_driver_reboot: consent"),
    "local": ("an apply on the host itself cannot reboot it", "apply from another machine by ssh"),
}


@dataclass(frozen=True)
class Wanted:
    """Hold what the inventory requests; an empty version keeps a working driver."""

    source: str = AUTO
    version: str = ""
    modules: str = AUTO
    reboot: str = CONSENT
    default_branch: str = "580"


@dataclass(frozen=True)
class Seen:
    """Hold what was found on a host."""

    system: System
    devices: list[dict[str, Any]]
    installed: Installed
    running: str
    booting: str
    ready: KernelModule | None = None
    loaded: str | None = None
    nouveau: bool = False
    boots_nouveau: bool = False
    secure_boot: bool = False
    enrolled: str | None = None
    # What is missing of a driver, or of another version than the driver is.
    strays: list[str] = field(default_factory=list)
    # The driver's module that the running kernel has, and whether it has the headers to compile another.
    running_module: str | None = None
    running_headers: bool = True
    # Whether provision installed this driver.
    ours: bool = False
    # The entries of DKMS whose source is gone.
    sourceless: list[str] = field(default_factory=list)
    # What an earlier change did not reach: services that it stopped, or has not enabled.
    unfinished: list[str] = field(default_factory=list)
    holders: list[str] = field(default_factory=list)
    serving: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Target:
    """The driver that a host must have; the version may be a branch."""

    source: str
    version: str
    modules: str


@dataclass(frozen=True)
class Decision:
    """What to do and why, and what needs consent."""

    action: str
    target: Target
    why: tuple[str, ...] = ()
    consent: tuple[str, ...] = ()


def decide(wanted: Wanted, seen: Seen) -> Decision:
    """Return what has to be done for this host to have the requested driver; raises Fault where it cannot."""
    _refuse_unclear(seen.installed)
    if wanted.version and not re.fullmatch(r"[0-9]{3}(\.[0-9]+){0,2}", wanted.version):
        raise Fault(
            f"nvidia_driver_version is {wanted.version}, which is neither a branch nor a version",
            "set it to a branch, such as 580, or a version, such as 580.159.04",
        )
    target = _target(wanted, seen)
    _refuse_unsigned(target, seen)
    action, why = _action(target, seen)
    if action != KEEP:
        _refuse_sourceless(seen.sourceless)
    if wanted.reboot in NO_REBOOT:
        _refuse_reboot(action, target, seen, *NO_REBOOT[wanted.reboot])
    may_reboot = wanted.reboot not in NO_REBOOT
    return Decision(action, target, tuple(why), tuple(_consent(action, target, seen, may_reboot=may_reboot)))


def _refuse_unclear(installed: Installed) -> None:
    """Refuse a host of which it is unclear what driver it has."""
    some = ", ".join(sorted(installed.packages)[:4])
    if installed.origin == MIXED:
        both = f"a driver of NVIDIA's .run installer ({installed.version}) and driver packages ({some})"
        raise Fault(
            f"{both} are both installed, and overwrite each other's files",
            "remove one of the two: `nvidia-uninstall --silent`, or the packages; then apply again",
        )
    if installed.origin == FOREIGN:
        raise Fault(
            f"the driver that is installed is neither NVIDIA's nor the distribution's ({some})",
            "remove these packages, or set nvidia_driver_state: ignored to manage the driver yourself",
        )


def _refuse_sourceless(entries: list[str]) -> None:
    """Refuse modules of DKMS without their source, because of which it may build no others."""
    if entries:
        listed = ", ".join(entries)
        raise Fault(
            f"DKMS lists modules whose source is gone ({listed}), and may build none because of them",
            f"run `rm -r {' '.join(entries)}` on the host to remove what is left of them, then apply again",
        )


def _target(wanted: Wanted, seen: Seen) -> Target:
    """Return which driver the host must have; raises Fault where that one does not suit it."""
    installed, ready, version = seen.installed, seen.ready, wanted.version or wanted.default_branch
    source = wanted.source
    if source == AUTO:
        source = NVIDIA if installed.origin == NONE else installed.origin
    modules = ""
    if not wanted.version and installed.version and installed.origin == source:
        with contextlib.suppress(Fault):
            # The installed one may not suit; then the default branch is tried before anything is refused.
            modules = choose(seen.devices, wanted.modules, installed.version).modules
            version = installed.version
            if ready and wanted.modules == AUTO and matches(version, ready.version):
                # Both kinds may suit, and a driver that works is no reason for a reboot.
                modules = choose(seen.devices, ready.flavour, version).modules
    modules = modules or choose(seen.devices, wanted.modules, version).modules
    if source == DISTRIBUTION and seen.system.family == "redhat":
        raise Fault(
            f"{seen.system.id} {seen.system.version} has no driver packages of its own",
            "set nvidia_driver_source to nvidia or runfile",
        )
    return Target(source, version, modules)


def _refuse_unsigned(target: Target, seen: Seen) -> None:
    """Refuse modules that Secure Boot would not load, before anything is touched."""
    ubuntu = seen.system.id == "ubuntu"
    if not seen.secure_boot or seen.enrolled or (target.source == DISTRIBUTION and ubuntu):
        return
    # Whoever signed what is loaded signs the next of this source as well; another source has another key.
    same = seen.installed.origin == target.source
    if same and seen.ready and seen.ready.signer and seen.loaded == seen.ready.version:
        return
    key = "/var/lib/shim-signed/mok/MOK.der" if ubuntu else "/var/lib/dkms/mok.pub"
    raise Fault(
        "Secure Boot is on, but no signing key is enrolled for the driver's kernel modules",
        SIGN.format(key=key, make=MAKE_KEY[ubuntu]) + (PREBUILT if ubuntu else ""),
    )


def _refuse_reboot(action: str, target: Target, seen: Seen, why: str, step: str) -> None:
    """Refuse what needs a reboot, where none can follow."""
    by_hand = f"{step}, or reboot the host by hand"
    if seen.nouveau:
        raise Fault(f"nouveau uses the GPUs, and {why}", by_hand)
    if action == KEEP:
        return
    if _waits_for_boot(target, seen):
        kernels = f"kernel {seen.booting} boots next while {seen.running} is running"
        raise Fault(f"{kernels}, and {why}", by_hand)
    if seen.holders:
        raise Fault(
            f"{'; '.join(seen.holders)}, so the driver cannot be changed, and {why}",
            f"{step}, or end these processes",
        )


def _action(target: Target, seen: Seen) -> tuple[str, list[str]]:
    """Return what has to be done, and why."""
    installed = seen.installed
    if installed.origin == NONE:
        return INSTALL, ["no driver is installed"]
    if installed.origin != target.source:
        return MOVE, [f"the driver is from {installed.origin}, but {target.source} is requested"]
    if not matches(target.version, installed.version):
        return CHANGE, [f"driver {installed.version} is installed, but {target.version} is requested"]
    if seen.ready and seen.ready.flavour != target.modules:
        return CHANGE, [
            f"its {seen.ready.flavour} kernel modules are installed, but {target.modules} ones are requested"
        ]
    if damaged := _damaged(seen):
        return REPAIR, damaged
    return (ACTIVATE, why) if (why := _inactive(seen)) else (KEEP, [])


def _damaged(seen: Seen) -> list[str]:
    """Return why the driver that is installed would not work after the next boot."""
    if seen.ready is None:
        return [f"the kernel that boots next, {seen.booting}, has no module of the driver"]
    if seen.ready.version != seen.installed.version:
        return [f"kernel {seen.booting} has module {seen.ready.version} of driver {seen.installed.version}"]
    if seen.strays:
        return seen.strays
    # Where another hand's driver runs, and nouveau does not, something else than our file keeps it off.
    works = seen.loaded == seen.installed.version and not seen.nouveau and not seen.ours
    if seen.boots_nouveau and not works:
        return [f"the initramfs of kernel {seen.booting} would load nouveau"]
    return []


def _inactive(seen: Seen) -> list[str]:
    """Return why the driver that is installed is not the one that runs."""
    if seen.nouveau:
        return ["nouveau uses the GPUs"]
    if not seen.loaded:
        return ["the driver is installed but not loaded"]
    if seen.loaded != seen.installed.version:
        return [f"driver {seen.installed.version} is installed, but {seen.loaded} is loaded"]
    return seen.unfinished


def _waits_for_boot(target: Target, seen: Seen) -> bool:
    """Return whether the kernel that runs cannot have the driver, and the one that boots next will."""
    has = seen.running_headers or matches(target.version, seen.running_module)
    return seen.running != seen.booting and not has


def _consent(action: str, target: Target, seen: Seen, *, may_reboot: bool) -> list[str]:
    """Return what needs consent, each with its reason."""
    needs = []
    if action == MOVE:
        driver = f"driver {seen.installed.version} of source {seen.installed.origin}"
        needs.append(f"remove {driver} before {target.version} is installed from {target.source}")
    if action != KEEP and _waits_for_boot(target, seen):
        return [*needs, f"reboot: kernel {seen.booting} boots next, but {seen.running} is running"]
    if action == KEEP or not (seen.loaded or seen.nouveau):
        return needs  # nothing that runs on the GPUs is interrupted
    if seen.nouveau:
        return [*needs, "reboot: nouveau uses the GPUs"]
    stop = f"stop {', '.join(seen.serving)}, and " if seen.serving else ""
    change = f"replace the driver {seen.loaded} that is loaded by {target.version} ({target.modules} modules)"
    if seen.holders:
        return [*needs, f"{stop}{change}, with a reboot: {'; '.join(seen.holders)}"]
    return [*needs, f"{stop}{change}" + "; reboot if it cannot be unloaded" * may_reboot]
