# SPDX-License-Identifier: Apache-2.0
"""The steps of a driver's job that are about kernels: headers, nouveau, the initramfs, and the proof."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from ..gpu import kernel as kernels
from ..host.commands import call
from ..host.fault import Fault
from ..host.settings import write_file
from ..jobs.command import note
from .hold import UNLOCKED
from .managers import AptDriver, DnfDriver, present
from .process import attempt, run

BLACKLIST = "/etc/modprobe.d/provision-nvidia.conf"
DRACUT = "/etc/dracut.conf.d/provision-nvidia.conf"
AT_BOOT = "/etc/modules-load.d/provision-nvidia.conf"
FILES = {
    BLACKLIST: "# Written by provision: nouveau keeps NVIDIA's driver from the GPUs.\n"
    "blacklist nouveau\noptions nouveau modeset=0\n",
    # A service whose sandbox hides the devices' parents cannot make /dev/nvidia-uvm at its first use.
    AT_BOOT: "# Written by provision.\nnvidia\nnvidia_uvm\n",
}
DRACUT_TEXT = '# Written by provision.\nomit_drivers+=" nouveau "\n'
# What an initramfs takes beside the old one, in parts of its size, and what a driver takes where.
SPARE = 1.2
ROOT_BYTES = 2500 * 1024**2
ARCHIVES = {"debian": "name a source of packages", "redhat": "set nvidia_driver_vault to an archive"}
COMPILERS = {
    "debian": ("dkms", "gcc", "g++", "make"),
    "redhat": ("dkms", "gcc", "gcc-c++", "make", "elfutils-libelf-devel"),
}
VAULT_KEYS = "/etc/pki/rpm-gpg/RPM-GPG-KEY-[Rr]ocky*"
DKMS_TREE = Path("/var/lib/dkms")
LOG_LINES = 15


def room(kernel: str) -> None:
    """Refuse before anything is changed when what comes cannot fit."""
    image = kernels.initramfs(kernel)
    needs = [(Path("/"), ROOT_BYTES, "the driver and its modules")]
    if image:
        needs.append(
            (image.parent, int(image.stat().st_size * SPARE), f"another initramfs of kernel {kernel}")
        )
    for place, size, what in needs:
        free = shutil.disk_usage(str(place)).free
        if free < size:
            raise Fault(
                f"{place} has {free / 1e6:.0f} MB free, and {what} takes {size / 1e6:.0f} MB",
                f"free space in {place} (old kernels: `apt-get autoremove`, `dnf remove --oldinstallonly`), "
                "then apply again: nothing was changed",
            )


def headers(manager: AptDriver | DnfDriver, spec: dict[str, Any]) -> None:
    """Have the headers of the kernel that boots next, and a compiler with DKMS."""
    kernel = spec["booting"]
    if not kernels.has_headers(kernel):
        # First of all: DKMS asks for headers of any kernel, and its words would hide whose are missing.
        _kernel_headers(manager, spec)
    needed = present(COMPILERS[spec["system"]["family"]])
    if isinstance(manager, DnfDriver) and "dkms" in needed and not manager.versions("dkms"):
        # DKMS is a package of EPEL, which Rocky names in its own repository.
        manager.install(["epel-release"], "adding EPEL, which has DKMS,")
    if needed:
        manager.install(needed, "installing what compiles kernel modules")


def _kernel_headers(manager: AptDriver | DnfDriver, spec: dict[str, Any]) -> None:
    kernel = spec["booting"]
    if isinstance(manager, AptDriver):
        name = f"linux-headers-{kernel}"
        if manager.versions(name):
            manager.install([name], f"installing the headers of kernel {kernel}")
    else:
        name = kernels.package("devel", kernel)
        # Our own locks hold the headers of the kernel of before.
        if not (_listed(name) and attempt(["dnf", "-y", UNLOCKED, "install", name])[0] == 0):
            _from_vault(name, spec)
    if not kernels.has_headers(kernel):
        raise Fault(
            f"the headers of kernel {kernel}, which boots next, are in no repository ({name}), and the "
            "modules of the driver cannot be compiled without them; nothing of the driver was changed",
            f"bring the kernel up to date and reboot (`{_upgrade(kernel)}`), or "
            f"{ARCHIVES[spec['system']['family']]} that has them; then apply again",
        )


def _upgrade(kernel: str) -> str:
    """Return the command that brings a newer kernel of the same kind, whatever follows the newest there."""
    if shutil.which("apt-get") is None:
        _, _, variant = kernel.partition("+")
        return f"dnf {UNLOCKED} upgrade kernel{f'-{variant}' if variant else ''}"
    shown = call("dpkg-query", "-W", "-f", "${Package}|${Depends}\\n", "linux-image-*").stdout
    rows = (line.partition("|") for line in shown.splitlines())
    names = [name for name, _, depends in rows if f"linux-image-{kernel}" in depends]
    return f"apt-get install {names[0] if names else 'linux-image-generic'}"


def _listed(name: str) -> str:
    code, said = attempt(["dnf", "-q", "list", "--showduplicates", name])
    return said if code == 0 else ""


def _from_vault(name: str, spec: dict[str, Any]) -> None:
    """Install headers from the archive of older releases; the distribution's own keys must sign them."""
    release = re.search(r"\.el([0-9]+)_([0-9]+)", name)
    system = spec["system"]
    words = {
        "release": f"{release.group(1)}.{release.group(2)}" if release else system["version"],
        "arch": system["arch"],
    }
    keys = ",".join(f"file://{path}" for path in Path("/").glob(VAULT_KEYS.lstrip("/")))
    for repository in ("AppStream", "BaseOS"):
        url = spec["vault"].format(repository=repository, **words)
        if not url:
            return
        note(f"looking for {name} in the archive {url}")
        options = [f"--repofrompath=provision-vault,{url}", "--setopt=provision-vault.gpgcheck=1"]
        options += [f"--setopt=provision-vault.gpgkey={keys}"] if keys else []
        if attempt(["dnf", "-y", UNLOCKED, *options, "install", name])[0] == 0:
            return


def keep_nouveau_off() -> None:
    """Blacklist nouveau for the root file system and for every initramfs made from now on."""
    for path, text in FILES.items():
        write_file(path, text)
    if shutil.which("dracut"):
        write_file(DRACUT, DRACUT_TEXT)


def rebuild_initramfs(kernel: str) -> None:
    """Make the initramfs of a kernel again where it would load nouveau, and see that it does not."""
    if not kernels.boots_nouveau(kernel, BLACKLIST):
        return
    image = kernels.initramfs(kernel)
    what = f"making the initramfs of kernel {kernel} without nouveau"
    if shutil.which("update-initramfs"):
        run(["update-initramfs", "-u", "-k", kernel], what)
    else:
        run(["dracut", "--force", str(image), kernel], what)
    if kernels.boots_nouveau(kernel, BLACKLIST):
        raise Fault(
            f"the initramfs {image} still loads nouveau after it was made again",
            "look for nouveau in /etc/initramfs-tools or /etc/dracut.conf.d, and for "
            f"{BLACKLIST} in `lsinitramfs {image}` or `lsinitrd {image}`",
        )


def prove(kernel: str, version: str, flavour: str, *, secure_boot: bool, dkms: bool) -> None:
    """Show that a kernel would load this very driver; the package manager's word is no proof."""
    module = kernels.module(kernel)
    if dkms and (module is None or module.vermagic != kernel):
        module = _build(kernel, version)
    if module is None:
        raise Fault(
            f"the packages of driver {version} installed well, but kernel {kernel} has no module of it",
            f"see `dkms status` and `modinfo -k {kernel} nvidia` on the host",
        )
    wrong = [
        f"{what} {found} in place of {asked}"
        for what, found, asked in (
            ("version", module.version, version),
            ("kernel modules of kind", module.flavour, flavour),
            ("built for kernel", module.vermagic, kernel),
        )
        if found != asked
    ]
    if wrong:
        raise Fault(
            f"kernel {kernel} would load a module with {'; '.join(wrong)}",
            f"see `modinfo -k {kernel} nvidia`: an older module may lie in its folder extra or updates",
        )
    if secure_boot and not module.signer:
        raise Fault(
            f"the module of driver {version} for kernel {kernel} is not signed, and Secure Boot refuses it",
            "enrol DKMS's key: `mokutil --import /var/lib/dkms/mok.pub`, reboot, confirm on the console",
        )


def _build(kernel: str, version: str) -> kernels.KernelModule | None:
    """Build a module that should be there already, for the compiler's words when it fails."""
    known = sorted({build.name for build in kernels.dkms() if build.version == version})
    for name in known:
        code, said = attempt(["dkms", "install", f"{name}/{version}", "-k", kernel, "--force"])
        if code:
            raise Fault(
                f"the packages of driver {version} installed well, but DKMS cannot build its modules for "
                f"kernel {kernel}:\n{_make_log(name, version, kernel) or said}",
                "choose a version of the driver that knows this kernel in nvidia_driver_version, or an older "
                "kernel; the host was left as it was",
            )
    return kernels.module(kernel)


def _make_log(name: str, version: str, kernel: str) -> str:
    """Return what the compiler said, errors first."""
    tree = DKMS_TREE / name / version
    logs = [*tree.glob("build/make.log"), *tree.glob(f"{kernel}/*/log/make.log")]
    if not logs:
        return ""
    newest = max(logs, key=lambda path: path.stat().st_mtime)
    lines = newest.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line for line in lines if re.search(r"\berror\b|Error [0-9]", line)]
    return "\n".join((errors or lines)[-LOG_LINES:]) + f"\n({newest})"
