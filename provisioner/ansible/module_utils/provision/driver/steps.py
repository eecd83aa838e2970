# SPDX-License-Identifier: Apache-2.0
"""The steps of a driver's job that are about kernels: headers, nouveau, the initramfs, and the proof."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ..gpu import kernel as kernels
from ..host import follow
from ..host.fault import Fault
from ..host.follow import note
from ..host.packages import Allow, Apt, Manager
from ..host.packages.advice import advice, cause_line
from ..host.packages.dnf import UNLOCKED
from ..host.paths import last_lines, require_room
from ..host.settings import write_file
from .orders import Orders
from .packages import System
from .transaction import USER

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
ARCHIVES = {
    "debian": "add a package source",
    "redhat": "enable a repository, or set nvidia_driver_vault to an archive,",
}
COMPILERS = {
    "debian": ("dkms", "gcc", "g++", "make"),
    "redhat": ("dkms", "gcc", "gcc-c++", "make", "elfutils-libelf-devel"),
}
VAULT_KEYS = "/etc/pki/rpm-gpg/RPM-GPG-KEY-[Rr]ocky*"
DKMS_TREE = Path("/var/lib/dkms")
COMPILER_ERROR = r"\berror\b|Error [0-9]"


def run(argv: list[str], what: str) -> None:
    """Run a program to its end; a failure is reported as one of `what`."""
    code, said = attempt(argv)
    if code:
        step = advice(said, USER.unit)
        raise Fault(f"{what} failed (exit {code}):\n{said}", step, cause=cause_line(said))


def attempt(argv: list[str]) -> tuple[int, str]:
    """Run a program to its end, and return its exit status and its last lines."""
    note(f"+ {' '.join(argv)}")
    done = follow.run(argv, follow.environment())
    return done.code, done.tail


def room(kernel: str) -> None:
    """Refuse before anything is changed when the driver or another initramfs cannot fit."""
    image = kernels.initramfs(kernel)
    needs = [(image.parent, int(image.stat().st_size * SPARE))] if image else []
    require_room(
        f"the driver, its modules and another initramfs of kernel {kernel}",
        [(Path("/"), ROOT_BYTES), *needs],
        advice=" (old kernels: `apt-get autoremove`, `dnf remove --oldinstallonly`)",
    )


def headers(manager: Manager, orders: Orders) -> None:
    """Install the headers of the kernel that boots next, and a compiler with DKMS."""
    system, kernel = orders.system, orders.booting
    if not kernels.has_headers(kernel):
        # First of all: DKMS requires headers of any kernel, and its message would hide whose are missing.
        _kernel_headers(manager, system, kernel, orders.vault)
    installed = manager.versions()
    needed = [name for name in COMPILERS[system.family] if name not in installed]
    if system.family == "redhat" and "dkms" in needed and not manager.offers("dkms"):
        # DKMS is a package of EPEL, which Rocky has in its own repository.
        manager.install(["epel-release"], "adding EPEL, which has DKMS,")
    if needed:
        manager.install(needed, "installing what compiles kernel modules")


def _kernel_headers(manager: Manager, system: System, kernel: str, vault: str) -> None:
    apt = isinstance(manager, Apt)
    names = kernels.headers(kernel, apt=apt)
    for name in [name for name in names if not manager.unavailable(name)][:1]:
        # Our own holds are on the headers of the previous kernel.
        argv = manager.install_command([name], Allow(held=True), manager.run_options)
        code, said = manager.attempt(argv)
        if code and apt:
            failed = f"installing the headers of kernel {kernel} failed (exit {code})"
            raise manager.failure(f"{failed}:\n{said}", said)
    if not apt and not kernels.has_headers(kernel):
        _from_vault(manager, names[0], system, vault)
    if not kernels.has_headers(kernel):
        tried = " or ".join(names)
        raise Fault(
            f"the headers of kernel {kernel}, which boots next, are in no repository ({tried}), and the "
            "modules of the driver cannot be compiled without them; nothing of the driver was changed",
            f"run `{_upgrade(manager, kernel)}` and reboot, or {ARCHIVES[system.family]} that has them; then "
            "apply again",
        )


def _upgrade(manager: Manager, kernel: str) -> str:
    """Return the command that installs a newer kernel of the same kind, by what follows the newest one."""
    if not isinstance(manager, Apt):
        # ELRepo's kernels are in a repository that it leaves disabled.
        enabled = "--enablerepo=elrepo-kernel " if "elrepo" in kernel else ""
        return f"dnf {UNLOCKED} {enabled}upgrade {' '.join(kernels.families(kernel))}"
    shown = manager.query("dpkg-query", "-W", "-f", "${Package}|${Depends}\\n")
    rows = (line.partition("|") for line in shown.splitlines())
    # What follows the newest kernel of a kind requires the image of one.
    image = re.compile(rf"(image|kernel)-{re.escape(kernel)}(?![\w.+])")
    names = [name for name, _, depends in rows if image.search(depends) and "headers" not in name]
    other = "proxmox-default-kernel" if kernel.endswith("-pve") else "linux-image-generic"
    return f"apt-get install {names[0] if names else other}"


def _from_vault(manager: Manager, name: str, system: System, vault: str) -> None:
    """Install headers from the archive of older releases; the distribution's own keys must sign them."""
    release = re.search(r"\.el([0-9]+)_([0-9]+)", name)
    version = f"{release.group(1)}.{release.group(2)}" if release else system.version
    keys = ",".join(f"file://{path}" for path in Path("/").glob(VAULT_KEYS.lstrip("/")))
    for repository in ("AppStream", "BaseOS"):
        url = vault.format(repository=repository, release=version, arch=system.arch)
        if not url:
            return
        note(f"looking for {name} in the archive {url}")
        options = [f"--repofrompath=provision-vault,{url}", "--setopt=provision-vault.gpgcheck=1"]
        options += [f"--setopt=provision-vault.gpgkey={keys}"] if keys else []
        argv = manager.install_command([name], Allow(held=True), [*manager.run_options, *options])
        if manager.attempt(argv)[0] == 0:
            return


def keep_nouveau_off() -> None:
    """Blacklist nouveau for the root file system and for every initramfs made from now on."""
    for path, text in FILES.items():
        write_file(path, text)
    if shutil.which("dracut"):
        write_file(DRACUT, DRACUT_TEXT)


def rebuild_initramfs(kernel: str) -> None:
    """Rebuild the initramfs of a kernel where it would load nouveau, and check that it no longer does."""
    if not kernels.boots_nouveau(kernel, BLACKLIST):
        return
    make_initramfs(kernel)
    if kernels.boots_nouveau(kernel, BLACKLIST):
        image = kernels.initramfs(kernel)
        raise Fault(
            f"the initramfs {image} still loads nouveau after it was rebuilt",
            "look for nouveau in /etc/initramfs-tools or /etc/dracut.conf.d, and for "
            f"{BLACKLIST} in `lsinitramfs {image}` or `lsinitrd {image}`",
        )


def make_initramfs(kernel: str) -> None:
    """Rebuild the initramfs of a kernel, where it has one."""
    image = kernels.initramfs(kernel)
    if image is None:
        return
    dracut = ["dracut", "--force", str(image), kernel]
    argv = ["update-initramfs", "-u", "-k", kernel] if shutil.which("update-initramfs") else dracut
    run(argv, f"rebuilding the initramfs of kernel {kernel}")


def prove(kernel: str, version: str, orders: Orders, *, dkms: bool) -> None:
    """Check that a kernel would load this very driver; what the package manager reports does not prove it."""
    module = kernels.module(kernel)
    if dkms and (module is None or module.vermagic != kernel):
        module = _build(kernel, version)
    if module is None:
        raise Fault(
            f"the packages of driver {version} were installed, but kernel {kernel} has no module of it",
            f"check `dkms status` and `modinfo -k {kernel} nvidia` on the host",
        )
    wrong = [
        f"{what} {found} instead of {wanted}"
        for what, found, wanted in (
            ("version", module.version, version),
            ("kernel modules of kind", module.flavour, orders.modules),
            ("built for kernel", module.vermagic, kernel),
        )
        if found != wanted
    ]
    if wrong:
        raise Fault(
            f"kernel {kernel} would load a module with {'; '.join(wrong)}",
            f"check `modinfo -k {kernel} nvidia`: an older module may be in its directory extra or updates",
        )
    if orders.secure_boot and not module.signer:
        raise Fault(
            f"the module of driver {version} for kernel {kernel} is not signed, and Secure Boot refuses it",
            "enrol DKMS's key: `mokutil --import /var/lib/dkms/mok.pub`, reboot, confirm on the console",
        )


def _build(kernel: str, version: str) -> kernels.KernelModule | None:
    """Build a module that should be there already, for the compiler's message when it fails."""
    for name in sorted(name for name, built in kernels.dkms() if built == version):
        code, said = attempt(["dkms", "install", f"{name}/{version}", "-k", kernel, "--force"])
        if code:
            raise Fault(
                f"the packages of driver {version} were installed, but DKMS cannot build its modules for "
                f"kernel {kernel}:\n{_make_log(name, version, kernel) or said}",
                "set nvidia_driver_version to a version that supports this kernel, or boot an older kernel; "
                "the host was left as it was",
            )
    return kernels.module(kernel)


def _make_log(name: str, version: str, kernel: str) -> str:
    """Return what the compiler said, errors first."""
    tree = DKMS_TREE / name / version
    logs = [*tree.glob("build/make.log"), *tree.glob(f"{kernel}/*/log/make.log")]
    newest = max(logs, key=lambda path: path.stat().st_mtime, default=None)
    return f"{last_lines(newest, COMPILER_ERROR)}\n({newest})" if newest else ""
