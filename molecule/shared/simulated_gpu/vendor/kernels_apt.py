# SPDX-License-Identifier: Apache-2.0
"""Turn the table of kernels into the packages of Ubuntu and Debian; pure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from simulated_gpu.vendor.kernels import KEY, MADE, OVERLAY, UNDO, Table, tree
from simulated_gpu.vendor.package import Content, Copy, Link, Package, Text

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
# The module that the initramfs brings up before anything else can, unless its own copy of modprobe.d says no.
HOOK = """\
#!/bin/sh
[ "$1" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules nouveau
"""
RUN = """\
if [ "$1" = {when} ]; then
    depmod {kernel}
    export DEB_MAINT_PARAMS="$*"
    run-parts --exit-on-error --arg={kernel} --arg=/boot/vmlinuz-{kernel} /etc/kernel/{kind}.d
fi
"""
HEADERS = """\
hook=/etc/kernel/header_postinst.d/dkms
if [ -e $hook ]; then $hook {kernel}; fi
"""


def ubuntu(table: Table, build: Path) -> list[Package]:
    """Return the kernels of one release of Ubuntu: image, modules, headers, and what follows the newest."""
    found = []
    for version, number in zip(table["kernels"], table["builds"], strict=True):
        found += _ubuntu_kernel(version, f"{version.rpartition('-')[2]}.{number}", build)
        found += _ubuntu_metas(version, version.replace("-", ".") + f".{number}")
    return found


def debian(table: Table, build: Path) -> list[Package]:
    """Return the kernels of one release of Debian, whose modules are in the image, and what follows them."""
    found = []
    for version, base in zip(table["kernels"], table["versions"], strict=True):
        found += _debian_kernel(f"{version}-amd64", base, build)
        found += [
            _meta(f"linux-{part}-amd64", f"{base}-1", f"linux-{part}-{version}-amd64")
            for part in ("image", "headers")
        ]
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
    modules = Package(
        f"linux-modules-{kernel}",
        base,
        release,
        f"Linux kernel modules {kernel}",
        files={**tree(kernel, build), f"/boot/config-{kernel}": Text(CONFIG)},
        scripts={"postinst": f"depmod {kernel}\n"},
    )
    return [modules, _image(kernel, base, release, modules.name), _headers(kernel, base, release)]


def _debian_kernel(kernel: str, base: str, build: Path) -> list[Package]:
    image = _image(kernel, base, "1")
    files = {**image.files, **tree(kernel, build), f"/boot/config-{kernel}": Text(CONFIG)}
    return [replace(image, files=files), _headers(kernel, base, "1")]


def _image(kernel: str, version: str, release: str, *modules: str) -> Package:
    postrm = RUN.format(when="remove", kind="postrm", kernel=kernel).replace("    depmod", "    : depmod")
    return Package(
        f"linux-image-{kernel}",
        version,
        release,
        f"Linux kernel {kernel}",
        files={f"/boot/vmlinuz-{kernel}": Text(f"simulated kernel {kernel}\n")},
        scripts={"postinst": RUN.format(when="configure", kind="postinst", kernel=kernel), "postrm": postrm},
        depends=("kmod", "initramfs-tools", "simulated-kernel-support", *modules),
    )


def _headers(kernel: str, version: str, release: str) -> Package:
    folder = f"/usr/src/linux-headers-{kernel}"
    made = f"set -- {kernel} {folder}\n{OVERLAY}{HEADERS.format(kernel=kernel)}"
    return Package(
        f"linux-headers-{kernel}",
        version,
        release,
        f"Linux kernel headers {kernel}",
        files={f"/usr/lib/modules/{kernel}/build": Link(folder), f"{folder}/README": Text(MADE)},
        scripts={"postinst": made, "prerm": f"{UNDO.format(headers=folder)} || true\n"},
    )


def _ubuntu_metas(version: str, full: str) -> list[Package]:
    kernel = f"{version}-generic"
    return [
        _meta("linux-image-generic", full, f"linux-image-{kernel}"),
        _meta("linux-headers-generic", full, f"linux-headers-{kernel}"),
        _meta("linux-generic", full, f"linux-image-generic (= {full})", f"linux-headers-generic (= {full})"),
    ]


def _meta(name: str, version: str, *depends: str) -> Package:
    return Package(name, version, "", f"what {name} is at now", any_arch=True, depends=depends)


def support(build: Path, *, ubuntu: bool) -> Package:
    """Return what a real kernel has built in: the key of its modules, and what starts early."""
    files: dict[str, Content] = {
        KEY: Copy(build / "distribution.der"),
        "/usr/share/initramfs-tools/hooks/simulated-nouveau": Text(HOOK, 0o755),
        "/etc/initramfs-tools/conf.d/simulated": Text("MODULES=list\nCOMPRESS=gzip\n"),
    }
    if ubuntu:
        files["/usr/sbin/update-secureboot-policy"] = Text(MAKE_KEY, 0o755)
    return Package("simulated-kernel-support", "1", "1", "what goes with the simulated kernels", files=files)
