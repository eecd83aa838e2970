# SPDX-License-Identifier: Apache-2.0
"""Turn the table of kernels into the packages of Ubuntu and Rocky; pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulated_gpu.vendor.package import Content, Copy, Link, Package, Text
from simulated_gpu.vendor.parts import SOURCE

Table = Mapping[str, Any]
PARTS_OF_TREE = {
    "modules.builtin": "kernel/fs/ext4/ext4.ko\n",
    "modules.builtin.modinfo": "",
    "modules.order": "kernel/drivers/gpu/drm/nouveau/nouveau.ko\n",
}
CONFIG = "CONFIG_MODULES=y\nCONFIG_MODULE_SIG=y\nCONFIG_RD_GZIP=y\nCONFIG_RD_ZSTD=y\n"
# What Ubuntu's shim-signed has: dkms signs modules with the key that this makes.
MAKE_KEY = """\
#!/bin/sh
# Makes the key that this machine signs modules with; the owner still has to enrol it.
set -e
folder=/var/lib/shim-signed/mok
[ "$1" = --new-key ] || exit 0
[ ! -e $folder/MOK.der ] || exit 0
mkdir -p $folder
openssl req -new -x509 -newkey rsa:2048 -nodes -days 36500 \\
    -subj "/CN=$(hostname) Secure Boot Module Signature key" \\
    -keyout $folder/MOK.priv -out $folder/MOK.der -outform DER 2>/dev/null
chmod 600 $folder/MOK.priv
"""
KEY = "/usr/share/simulated-kernel/distribution.der"
OVERLAY = (SOURCE / "overlay.sh").read_text()
# The module that the initramfs brings up before anything else can, unless its own copy of modprobe.d says no.
HOOK = """\
#!/bin/sh
[ "$1" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules nouveau
"""
DRACUT = """\
# A small initramfs is made in a second; nouveau is in it as in a real one.
hostonly=yes
hostonly_cmdline=no
compress=cat
# In a container nobody may make devices.
export DRACUT_NO_MKNOD=1
dracutmodules=" base kernel-modules shutdown "
add_drivers+=" nouveau "
"""
DEB_RUN = """\
if [ "$1" = {when} ]; then
    depmod {kernel}
    export DEB_MAINT_PARAMS="$*"
    run-parts --exit-on-error --arg={kernel} --arg=/boot/vmlinuz-{kernel} /etc/kernel/{kind}.d
fi
"""
DEB_HEADERS = """\
hook=/etc/kernel/header_postinst.d/dkms
if [ -e $hook ]; then $hook {kernel}; fi
"""
# What the script made; the package's own file goes with the package.
UNDO = "find {headers} -mindepth 1 ! -name README -delete"
MADE = "made by the package's script\n"
RPM_POSTTRANS = """\
cp /lib/modules/{kernel}/vmlinuz /boot/vmlinuz-{kernel}
depmod {kernel}
running=$(cat /proc/sys/kernel/osrelease)
entries=/boot/loader/entries
[ ! -e $entries/simulated-$running.conf ] ||
    sed "s|$running|{kernel}|g" $entries/simulated-$running.conf >$entries/simulated-{kernel}.conf
rm -f /boot/grub2/simulated-default
[ ! -x /usr/sbin/dkms ] || dkms autoinstall -k {kernel} || :
dracut --force --quiet /boot/initramfs-{kernel}.img {kernel} || :
"""
RPM_PREUN = """\
[ ! -x /usr/sbin/dkms ] || dkms uninstall_all -k {kernel} 2>/dev/null || :
rm -f /boot/vmlinuz-{kernel} /boot/initramfs-{kernel}.img /boot/loader/entries/simulated-{kernel}.conf
"""


def ubuntu(table: Table, build: Path) -> list[Package]:
    """Return the kernels of one release of Ubuntu: image, modules, headers, and what follows the newest."""
    found = []
    for version, number in zip(table["kernels"], table["builds"], strict=True):
        found += _ubuntu_kernel(version, f"{version.rpartition('-')[2]}.{number}", build)
        found += _ubuntu_metas(version, version.replace("-", ".") + f".{number}")
    return found


def prebuilt(table: Table, driver: str, build: Path) -> list[Package]:
    """Return Ubuntu's own signed driver modules for each of its kernels, and what follows the newest."""
    branch = driver.partition(".")[0]
    found = []
    for version, number in zip(table["kernels"], table["builds"], strict=True):
        kernel = f"{version}-generic"
        base, _, abi = version.partition("-")
        for kind, modules in (("-open", "open"), ("", "proprietary")):
            name = f"linux-modules-nvidia-{branch}-server{kind}"
            folder = f"/usr/lib/modules/{kernel}/kernel/nvidia-{branch}srv{kind}"
            built = build / "kernels" / kernel / modules
            files: dict[str, Content] = {
                f"{folder}/{one}.ko": Copy(built / f"{one}.ko")
                for one in ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm")
            }
            found.append(
                Package(
                    f"{name}-{kernel}",
                    base,
                    f"{abi}.{number}+1",
                    f"Linux kernel NVIDIA modules {driver} for {kernel}",
                    files=files,
                    scripts={"postinst": f"depmod {kernel}\n", "postrm": f"depmod {kernel} || true\n"},
                    depends=(
                        f"linux-modules-{kernel}",
                        f"nvidia-kernel-common-{branch}-server (>= {driver})",
                    ),
                    provides=(f"nvidia-dkms-{branch}-server{kind} (= {driver})",),
                )
            )
            found.append(
                _meta(f"{name}-generic", f"{version.replace('-', '.')}.{number}", f"{name}-{kernel}")
            )
    return found


def _ubuntu_kernel(version: str, release: str, build: Path) -> list[Package]:
    kernel = f"{version}-generic"
    base = version.partition("-")[0]
    headers = f"/usr/src/linux-headers-{kernel}"
    undo = f"{UNDO.format(headers=headers)} || true\n"
    run = {
        "postinst": DEB_RUN.format(when="configure", kind="postinst", kernel=kernel),
        "postrm": DEB_RUN.format(when="remove", kind="postrm", kernel=kernel).replace(
            "    depmod", "    : depmod"
        ),
    }
    tree = f"/usr/lib/modules/{kernel}"
    modules: dict[str, Content] = {
        f"{tree}/kernel/drivers/gpu/drm/nouveau/nouveau.ko": Copy(build / "kernels" / kernel / "nouveau.ko"),
        **{f"{tree}/{name}": Text(text) for name, text in PARTS_OF_TREE.items()},
        f"/boot/config-{kernel}": Text(CONFIG),
    }
    return [
        Package(
            f"linux-modules-{kernel}", base, release, f"Linux kernel modules {kernel}",
            files=modules, scripts={"postinst": f"depmod {kernel}\n"},
        ),
        Package(
            f"linux-image-{kernel}", base, release, f"Linux kernel {kernel}",
            files={f"/boot/vmlinuz-{kernel}": Text(f"simulated kernel {kernel}\n")},
            scripts=run,
            depends=("kmod", "initramfs-tools", "simulated-kernel-support", f"linux-modules-{kernel}"),
        ),
        Package(
            f"linux-headers-{kernel}", base, release, f"Linux kernel headers {kernel}",
            files={f"{tree}/build": Link(headers), f"{headers}/README": Text(MADE)},
            scripts={
                "postinst": f"set -- {kernel} {headers}\n{OVERLAY}"
                + DEB_HEADERS.format(kernel=kernel),
                "prerm": undo,
            },
        ),
    ]  # fmt: skip


def _ubuntu_metas(version: str, full: str) -> list[Package]:
    kernel = f"{version}-generic"
    return [
        _meta("linux-image-generic", full, f"linux-image-{kernel}"),
        _meta("linux-headers-generic", full, f"linux-headers-{kernel}"),
        _meta("linux-generic", full, f"linux-image-generic (= {full})", f"linux-headers-generic (= {full})"),
    ]


def _meta(name: str, version: str, *depends: str) -> Package:
    return Package(name, version, "", f"what {name} is at now", any_arch=True, depends=depends)


def ubuntu_support(build: Path) -> Package:
    """Return what a real kernel has built in: the key of its modules, and what starts early."""
    files: dict[str, Content] = {
        KEY: Copy(build / "distribution.der"),
        "/usr/share/initramfs-tools/hooks/simulated-nouveau": Text(HOOK, 0o755),
        "/usr/sbin/update-secureboot-policy": Text(MAKE_KEY, 0o755),
        "/etc/initramfs-tools/conf.d/simulated": Text("MODULES=list\nCOMPRESS=gzip\n"),
    }
    return Package("simulated-kernel-support", "1", "1", "what goes with the simulated kernels", files=files)


def rocky(table: Table, full: str, build: Path) -> dict[str, list[Package]]:
    """Return the packages of one kernel of Rocky by the repository that holds them."""
    version, _, release = full.partition("-")
    kernel = f"{full}.x86_64"
    headers = f"/usr/src/kernels/{kernel}"
    same = f"= {version}-{release}"
    parts = table["parts"]

    def package(part: str, summary: str, **words: Any) -> Package:
        several = () if part in ("", "headers", "devel-matched") else ("installonlypkg(kernel)",)
        name = f"kernel-{part}" if part else "kernel"
        return Package(name, version, release, summary, provides=several, **words)

    modules = [
        "kernel-modules" if part == "modules" else f"kernel-{part}" for part in parts if "modules" in part
    ]
    base = [
        package("", "the kernel", depends=tuple(f"{name} {same}" for name in ("kernel-core", *modules))),
        package(
            "core", "the kernel itself",
            files=_rocky_tree(kernel, build),
            scripts={
                "posttrans": RPM_POSTTRANS.format(kernel=kernel),
                "preun": RPM_PREUN.format(kernel=kernel),
            },
            depends=("simulated-kernel-support", "dracut", "kmod"),
        ),
        *(package(name.removeprefix("kernel-"), "modules of the kernel", depends=(f"kernel-core {same}",))
          for name in modules),
    ]  # fmt: skip
    files: dict[str, Content] = {
        f"{headers}/README": Text(MADE),
        f"/usr/lib/modules/{kernel}/build": Link(headers),
    }
    scripts = {
        "post": f"set -- {kernel} {headers}\n{OVERLAY}",
        "preun": f"{UNDO.format(headers=headers)} || :",
    }
    devel = [
        package(
            "devel", "headers to build modules with", files=files, scripts=scripts, depends=("make", "gcc")
        ),
        package("headers", "headers for programs"),
    ]
    if "devel-matched" in parts:
        devel.append(
            package("devel-matched", "both", depends=(f"kernel-devel {same}", f"kernel-core {same}"))
        )
    if table["devel"] == "BaseOS":
        return {"BaseOS": [*base, *devel]}
    return {"BaseOS": base, table["devel"]: devel}


def _rocky_tree(kernel: str, build: Path) -> dict[str, Content]:
    tree = f"/usr/lib/modules/{kernel}"
    return {
        f"{tree}/vmlinuz": Text(f"simulated kernel {kernel}\n"),
        f"{tree}/kernel/drivers/gpu/drm/nouveau/nouveau.ko": Copy(build / "kernels" / kernel / "nouveau.ko"),
        **{f"{tree}/{name}": Text(text) for name, text in PARTS_OF_TREE.items()},
    }


def rocky_support(build: Path) -> Package:
    """Return what goes with the simulated kernels of Rocky."""
    files: dict[str, Content] = {
        KEY: Copy(build / "distribution.der"),
        "/usr/lib/dracut/dracut.conf.d/90-simulated.conf": Text(DRACUT),
        # A part of the real kmod, which dkms calls.
        "/usr/sbin/weak-modules": Text("#!/bin/sh\nexit 0\n", 0o755),
    }
    return Package(
        "simulated-kernel-support",
        "1",
        "1",
        "what goes with the simulated kernels",
        any_arch=True,
        files=files,
    )


def names(tables: Table) -> list[str]:
    """Return the release of every kernel for which modules are built."""
    found = [f"{one}-generic" for row in tables["ubuntu"].values() for one in row["kernels"]]
    for row in tables["rocky"].values():
        found += [f"{one}.x86_64" for one in (*row["kernels"], row["vault"])]
    return found
