# SPDX-License-Identifier: Apache-2.0
"""Turn the table of kernels into the packages of Rocky; pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simulated_gpu.vendor.kernels import KEY, MADE, OVERLAY, UNDO, Table, tree
from simulated_gpu.vendor.package import Content, Copy, Link, Package, Text

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
POSTTRANS = """\
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
PREUN = """\
[ ! -x /usr/sbin/dkms ] || dkms uninstall_all -k {kernel} 2>/dev/null || :
rm -f /boot/vmlinuz-{kernel} /boot/initramfs-{kernel}.img /boot/loader/entries/simulated-{kernel}.conf
"""


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

    modules = [f"kernel-{part}" for part in parts if part in ("modules", "modules-core")]
    extra = f"kernel-{table['addrtype']}"
    netfilter: dict[str, Content] = {
        f"/usr/lib/modules/{kernel}/kernel/net/netfilter/xt_addrtype.ko": Copy(
            build / "kernels" / kernel / "xt_addrtype.ko"
        )
    }
    base = [
        package("", "the kernel", depends=tuple(f"{name} {same}" for name in ("kernel-core", *modules))),
        package(
            "core", "the kernel itself",
            files={
                f"/usr/lib/modules/{kernel}/vmlinuz": Text(f"simulated kernel {kernel}\n"),
                **tree(kernel, build),
            },
            scripts={
                "posttrans": POSTTRANS.format(kernel=kernel),
                "preun": PREUN.format(kernel=kernel),
            },
            depends=("simulated-kernel-support", "dracut", "kmod"),
        ),
        *(package(name.removeprefix("kernel-"), "modules of the kernel", depends=(f"kernel-core {same}",),
                  files=netfilter if name == extra else {}, scripts={"posttrans": f"depmod {kernel}\n"})
          for name in dict.fromkeys((*modules, extra))),
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


def support(build: Path) -> Package:
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
