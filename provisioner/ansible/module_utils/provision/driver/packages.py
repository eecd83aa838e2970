# SPDX-License-Identifier: Apache-2.0
"""List the packages of a driver by distribution, source, branch and kernel modules; pure.

Without a display: what computes, what compiles the kernel modules, and what keeps them in memory. Sources:
[compute] "Compute-only and Desktop Installation", [modules] "Kernel Modules" and [updates] "Recent Updates",
which lists the names that lost their branch at 590, in NVIDIA's driver installation guide; [operator] the
install.sh of each distribution in github.com/NVIDIA/gpu-driver-container; [server] the package lists of
Ubuntu's archive; [debian] those of Debian's non-free section; [fabric] NVIDIA's Fabric Manager user guide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterable

from ..gpu.choice import OPEN

NVIDIA, DISTRIBUTION, RUNFILE = "nvidia", "distribution", "runfile"
# Packages of Ubuntu that exclude those for servers: they stay where somebody has chosen them.
DESKTOP = "desktop"
UNSUFFIXED_SINCE = 590  # [updates]
# The epoch of NVIDIA's rpm packages, and the module of theirs that has a stream for each branch on 8 and 9.
STREAM_MODULE, LAST_WITH_STREAMS = "nvidia-driver", 9
# A driver's version is the only one of this form: packages of the toolkits are counted otherwise.
DRIVER_VERSION = re.compile(r"(?:[0-9]+:)?([0-9]{3}\.[0-9]+(?:\.[0-9]+)?)(?:-.*)?")
# By its name a part of a driver: not the toolkits', and no tool that works with any driver.
FAMILY = re.compile(
    r"(?!.*-dev$)((lib)?(x)?nvidia-(?!container|cuda|detect|docker|driver-assistant|driver-pinning|fs(-|$)|gds"
    r"|gpu-firmware|nsight|opencl-dev|prime|profiler|vaapi|visual)|lib(cuda1|nvcuvid1|cudadebugger1|nvsdm)"
    r"|cuda-drivers|linux-(modules|objects|signatures)-nvidia-|kmod-nvidia|dnf-plugin-nvidia"
    r"|firmware-nvidia-gsp|xserver-xorg-video-nvidia)"
)
KERNEL_IMAGE = re.compile(
    r"linux-image-|linux-generic|(proxmox|pve)-kernel-|kernel(-(64k|ml|lt|rt|uek))?(-core)?$"
)
# What is held with a driver: a kernel, its headers and its modules, and the packages that bring newer ones.
KERNEL = re.compile(
    r"linux-(image|headers|modules|modules-extra)-|linux-(generic|virtual|lowlatency|aws|azure|gcp|oracle|kvm)"
    r"|(proxmox|pve)-(default-)?(kernel|headers)(-|$)"
    r"|kernel(-(64k|ml|lt|rt))?(-(core|modules|modules-core|modules-extra|devel|devel-matched|headers|uek.*))?$"
)
# What a driver cannot be without: the rest may have stayed behind, or stand beside another one.
CORE = re.compile(
    r"libnvidia-(compute|ml)|libcuda1|nvidia-(driver|headless|dkms|utils|compute-utils|smi)|kmod-nvidia"
    r"|nvidia-.*kernel-(source|dkms|open)|linux-(modules|objects|signatures)-nvidia-"
)


@dataclass(frozen=True)
class System:
    """Describe what decides the names of packages: the distribution, its release and the processor."""

    id: str
    family: str
    version: str
    major: int
    arch: str


@dataclass(frozen=True)
class Packages:
    """What to install: the driver, its fabric's services, and the package that has the driver's version."""

    driver: tuple[str, ...]
    fabric: tuple[str, ...]
    telling: str
    streams: tuple[str, ...] = ()
    dkms: bool = True


def packages(system: System, source: str, branch: int, modules: str, kernel: str) -> Packages:
    """Return the packages of a branch; a signed module of the distribution is for one kernel."""
    if system.family == "redhat":
        return _redhat(system, branch, modules)
    if source == NVIDIA:
        return _debian_nvidia(branch, modules) if system.id == "debian" else _ubuntu_nvidia(branch, modules)
    if system.id == "debian":
        return _debian(modules)
    return _ubuntu(f"{branch}" if source == DESKTOP else f"{branch}-server", modules, kernel)


def archive_driver(names: Iterable[str]) -> str:
    """Return whether these packages of Ubuntu's archive are its driver for servers or for desktops."""
    core = [name for name in names if is_core(name)]
    server = not core or any("-server" in name for name in core)
    return DISTRIBUTION if server else DESKTOP


def driver_version(version: str) -> str | None:
    """Return the driver's version in that of a package, None if it has none."""
    found = DRIVER_VERSION.fullmatch(version)
    return found.group(1) if found else None


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as numbers, which compare as versions do."""
    return tuple(int(part) for part in re.findall(r"[0-9]+", version))


def matches(wanted: str, version: str | None) -> bool:
    """Return whether a version is of a branch, or the very one, number by number."""
    return version is not None and f"{version}.".startswith(f"{wanted}.")


def is_family(name: str) -> bool:
    """Return whether a package by its name belongs to a driver."""
    return FAMILY.match(name) is not None


def is_core(name: str) -> bool:
    """Return whether a package by its name is what a driver cannot be without."""
    return is_family(name) and CORE.match(name) is not None


def _redhat(system: System, branch: int, modules: str) -> Packages:
    kind = "open" if modules == OPEN else "latest"
    # [compute] for all of 8, 9 and 10.
    driver = ("nvidia-driver-cuda", f"kmod-nvidia-{kind}-dkms", "nvidia-persistenced", "nvidia-modprobe")
    # [modules]: a branch has a stream of its own; the newest one is in the stream without a number as well.
    streams: tuple[str, ...] = ()
    if system.major <= LAST_WITH_STREAMS:
        streams = (f"{branch}-open", "open-dkms") if modules == OPEN else (f"{branch}-dkms", "latest-dkms")
    nscq = ("libnvidia-nscq", "nvidia-imex")
    fabric = ("nvidia-fabricmanager", *nscq, *(("libnvsdm",) if system.arch == "x86_64" else ()))
    return Packages(driver, fabric, "nvidia-driver-cuda", streams)


def _ubuntu_nvidia(branch: int, modules: str) -> Packages:
    suffix = "" if branch >= UNSUFFIXED_SINCE else f"-{branch}"
    kind = "-open" if modules == OPEN else ""
    driver = (
        f"libnvidia-compute{suffix}",
        f"nvidia-dkms{suffix}{kind}",
        f"nvidia-utils{suffix}",
        f"nvidia-compute-utils{suffix}",
        f"libnvidia-cfg1{suffix}",
        # Without it, compiling for the GPU at run time fails.
        f"libnvidia-gpucomp{suffix}",
        "nvidia-modprobe",
    )
    return Packages(driver, _fabric(branch), f"libnvidia-compute{suffix}")


def _debian_nvidia(branch: int, modules: str) -> Packages:
    kind = "open-" if modules == OPEN else ""
    driver = ("nvidia-driver-cuda", f"nvidia-kernel-{kind}dkms", "nvidia-persistenced", "nvidia-modprobe")
    return Packages(driver, _fabric(branch), "nvidia-driver-cuda")


def _fabric(branch: int) -> tuple[str, ...]:
    # [fabric]: from 580 on without the branch in their names.
    old = f"-{branch}" if branch < 580 else ""
    return (f"nvidia-fabricmanager{old}", f"libnvidia-nscq{old}", f"nvidia-imex{old}")


def _debian(modules: str) -> Packages:
    kernel = "nvidia-open-kernel-dkms" if modules == OPEN else "nvidia-kernel-dkms"
    driver = ("nvidia-smi", "libcuda1", "libnvidia-ml1", kernel, "nvidia-persistenced", "nvidia-modprobe")
    return Packages(driver, (), "nvidia-smi")


def _ubuntu(name: str, modules: str, kernel: str) -> Packages:
    kind = "-open" if modules == OPEN else ""
    branch = name.partition("-")[0]
    # The prebuilt module is signed with a key that Secure Boot knows, and needs no compiler.
    driver = (
        f"nvidia-headless-no-dkms-{name}{kind}",
        f"linux-modules-nvidia-{name}{kind}-{kernel}",
        f"nvidia-utils-{name}",
        f"libnvidia-compute-{name}",
        f"nvidia-compute-utils-{name}",
    )
    fabric = (f"nvidia-fabricmanager-{branch}", f"libnvidia-nscq-{branch}")
    return Packages(driver, fabric, f"libnvidia-compute-{name}", dkms=False)
