# SPDX-License-Identifier: Apache-2.0
"""Find a host's kernels: the running one, the one that boots next, and the driver's module of each."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from ..host.commands import CommandFault, call
from ..host.paths import text_of
from ..host.settings import command
from .choice import OPEN, PROPRIETARY

RUNNING = Path("/proc/sys/kernel/osrelease")
MODULES, BOOT = Path("/lib/modules"), Path("/boot")
GRUB_DEFAULTS, GRUB_MORE = Path("/etc/default/grub"), Path("/etc/default/grub.d")
GRUB_ENVIRONMENT = Path("/boot/grub/grubenv")
LOADED, LOADED_DRIVER = Path("/sys/module"), Path("/proc/driver/nvidia/version")
SECURE_BOOT = Path("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
# Keys with which DKMS signs, by distribution.
SIGNING_KEYS = ("/var/lib/shim-signed/mok/MOK.der", "/var/lib/dkms/mok.pub")
INITRAMFS_SECONDS = 120
# Debian's own packages give the module another name, by which modprobe's settings know it.
NAMES = ("nvidia", "nvidia-current-open", "nvidia-current")


# Kernels of rpm's whose release says whose they are: ELRepo's, Oracle's, and those for real time.
VENDORS = {
    "elrepo": ["kernel-ml", "kernel-lt"],
    "uek": ["kernel-uek"],
    ".rt": ["kernel-rt"],
}
DKMS_TREE = Path("/var/lib/dkms")


@dataclass(frozen=True)
class KernelModule:
    """Describe the driver's module that a kernel would load."""

    version: str
    flavour: str
    vermagic: str
    signer: str


def running() -> str:
    """Return the release of the kernel that runs."""
    return RUNNING.read_text(encoding="ascii").strip()


def booting() -> str:
    """Return the release of the kernel that boots next; the running one where there is none in /boot."""
    if shutil.which("grubby"):
        image = _said("grubby", "--default-kernel").strip()
        if "vmlinuz-" in image:
            return image.rpartition("vmlinuz-")[2]
    names = (path.name[len("vmlinuz-") :] for path in BOOT.glob("vmlinuz-*"))
    found = sorted((name for name in names if "rescue" not in name), key=order)
    # An entry of grub names its kernel; without a choice, or with a mere number, the newest comes first.
    entry = _grub_entry()
    chosen = [name for name in found if re.search(rf"(?<![\w.+]){re.escape(name)}(?![\w.+])", entry)]
    return max(chosen, key=len) if chosen else [running(), *found][-1]


def _grub_entry() -> str:
    """Return the entry that grub boots next by the machine's settings; empty if no one has chosen one."""
    settings = "".join(map(text_of, [GRUB_DEFAULTS, *sorted(GRUB_MORE.glob("*.cfg"))]))
    found = re.findall(r"(?m)^\s*GRUB_DEFAULT=[\"']?([^\"'\n]*)", settings)
    default = found[-1] if found else ""
    kept = dict(line.split("=", 1) for line in text_of(GRUB_ENVIRONMENT).splitlines() if "=" in line)
    return kept.get("next_entry") or (kept.get("saved_entry", "") if default == "saved" else default)


def package(part: str, kernel: str) -> str:
    """Return the package with a part of a kernel of rpm's; kinds of kernels have packages of their own."""
    return f"{families(kernel)[0]}-{part}-{kernel.partition('+')[0]}"


def families(kernel: str) -> list[str]:
    """Return what the packages of a kernel of rpm's are called: by its own package, else by its release."""
    for path in (BOOT / f"vmlinuz-{kernel}", MODULES / kernel / "vmlinuz"):
        owner = _said("rpm", "-qf", "--qf", "%{NAME}\n", str(path)).split()
        if owner:
            return [re.sub(r"(-modules)?-core$|-modules$", "", owner[0])]
    release, _, variant = kernel.partition("+")
    if variant:
        return [f"kernel-{variant}"]
    return next((names for mark, names in VENDORS.items() if mark in release), ["kernel"])


def headers(kernel: str, *, apt: bool) -> list[str]:
    """Return the packages that may have the headers of a kernel, the likeliest first."""
    if not apt:
        return [f"{name}-devel-{kernel.partition('+')[0]}" for name in families(kernel)]
    said = _said("dpkg-query", "-S", str(BOOT / f"vmlinuz-{kernel}"))
    owner = re.match(r"([a-z0-9.+-]+?)-(?:image|kernel)-", said)
    names = [owner.group(1)] if owner else ["proxmox", "pve"] if kernel.endswith("-pve") else []
    return [f"{name}-headers-{kernel}" for name in dict.fromkeys([*names, "linux"])]


def order(release: str) -> list[tuple[int, str]]:
    """Return what kernel releases are sorted by: their numbers as numbers."""
    parts = re.findall(r"[0-9]+|[a-z]+", release)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def module(kernel: str) -> KernelModule | None:
    """Return the module that a kernel would load, None when it has none."""
    for name in _names(kernel):
        version, licence, vermagic, signer = (
            _said("modinfo", "-k", kernel, "-F", field, name).strip()
            for field in ("version", "license", "vermagic", "signer")
        )
        if vermagic:
            flavour = OPEN if "GPL" in licence else PROPRIETARY
            return KernelModule(version, flavour, vermagic.split()[0], signer)
    return None


def _names(kernel: str) -> Iterator[str]:
    """Yield the names that the module may have; modprobe is asked only where no usual one is there."""
    yield from NAMES
    shown = _said("modprobe", "--set-version", kernel, "--show-depends", "nvidia")
    yield from re.findall(r"(?m)^install .*\bmodprobe .*?\b(nvidia[-_][\w-]+)", shown)


def dkms() -> set[tuple[str, str]]:
    """Return names and versions of what DKMS builds; it writes them in two ways, by its own version."""
    shown = _said("dkms", "status") if shutil.which("dkms") else ""
    return set(re.findall(r"(?m)^([^/,\s]+)[/,] ?([^,:\s]+).*: \S", shown))


def sourceless() -> list[Path]:
    """Return the entries of DKMS whose source is gone, as after a driver was removed by hand.

    DKMS 3.0 then builds no module at all for the next kernel; 3.2 passes them over, and ends well.
    """
    # A pattern that ends with the link's own name would not find one that leads nowhere.
    entries = sorted(DKMS_TREE.glob("*/*"))
    links = [entry / "source" for entry in entries if (entry / "source").is_symlink()]
    return [link.parent for link in links if not (link / "dkms.conf").exists()]


def has_headers(kernel: str) -> bool:
    """Return whether modules can be compiled for a kernel."""
    return (MODULES / kernel / "build/Makefile").exists()


def initramfs(kernel: str) -> Path | None:
    """Return the kernel's initramfs, None when it has none."""
    paths = (BOOT / f"initrd.img-{kernel}", BOOT / f"initramfs-{kernel}.img")
    return next(filter(Path.is_file, paths), None)


def initramfs_files(kernel: str) -> list[str]:
    """Return the files in a kernel's initramfs; empty when there is none or it cannot be read."""
    image = initramfs(kernel)
    program = next((name for name in ("lsinitramfs", "lsinitrd") if shutil.which(name)), "")
    if not image or not program:
        return []
    lines = _said(program, str(image), seconds=INITRAMFS_SECONDS).splitlines()
    return [line.split()[-1].lstrip("/") for line in lines if line.strip()]


def boots_nouveau(kernel: str, blacklist: str) -> bool:
    """Return whether a kernel's initramfs would load nouveau: it has it, and not our file against it."""
    files = initramfs_files(kernel)
    kept_off = any(name.endswith(blacklist.lstrip("/")) for name in files)
    return not kept_off and any("/nouveau.ko" in name for name in files)


def loaded() -> set[str]:
    """Return every module that is loaded; what is built into the kernel has no state there."""
    return {path.parent.name for path in LOADED.glob("*/initstate")}


def loaded_driver() -> tuple[str | None, str | None]:
    """Return version and flavour of the driver that is loaded."""
    line = text_of(LOADED_DRIVER).partition("\n")[0]
    if not line:
        return None, None
    version = re.search(r"\b[0-9]{3,}\.[0-9]+(\.[0-9]+)*\b", line)
    return version.group() if version else None, OPEN if "Open Kernel Module" in line else PROPRIETARY


def secure_boot() -> bool:
    """Return whether the firmware refuses kernel modules without a known signature."""
    try:
        return SECURE_BOOT.read_bytes()[-1:] == b"\x01"
    except OSError:  # no such variable without UEFI
        return False


def enrolled_key() -> str | None:
    """Return the key of DKMS that the firmware knows, None when there is none."""
    for key in filter(os.path.exists, SIGNING_KEYS):
        # Its exit status differs between versions.
        if "already enrolled" in command("mokutil", "--test-key", key)[1]:
            return key
    return None


def _said(*argv: str, seconds: float = 30) -> str:
    """Return what a program prints; one that is missing or hangs says nothing."""
    try:
        done = call(*argv, seconds=seconds)
    except CommandFault:
        return ""
    return str(done.stdout) if done.returncode == 0 else ""
