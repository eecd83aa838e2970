# SPDX-License-Identifier: Apache-2.0
"""Compile what the packages hold: libraries, nvidia-smi, and modules for each kernel; for the container."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from simulated_gpu.vendor.package import Copy
from simulated_gpu.vendor.parts import LICENSES, SOURCE, Driver, module_source
from simulated_gpu.vendor.tools import call, put

MODULES = ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm")
# What comes with every kernel.
KERNELS_OWN = ("nouveau", "xt_addrtype")
FLAGS = ("-O1", "-Wall", "-Wextra", "-Werror")
SHARED = (*FLAGS, "-shared", "-fPIC")
BUILD_RELEASE = "0.0.0-simulated"


def libraries(version: str, folder: Path) -> None:
    """Compile the library, the program and the CUDA stub of one version of the driver."""
    folder.mkdir(parents=True, exist_ok=True)
    nvml, cuda = folder / "libnvidia-ml.so", folder / "libcuda.so"
    told = f'-DDRIVER_VERSION="{version}"'
    sources = [SOURCE / "nvml.c", SOURCE / "nvml_health.c"]
    call(["gcc", *SHARED, told, "-Wl,-soname,libnvidia-ml.so.1", "-o", str(nvml), *map(str, sources)])
    call(["gcc", *SHARED, "-Wl,-soname,libcuda.so.1", "-o", cuda, SOURCE / "cuda.c", nvml])
    call(["gcc", *FLAGS, "-o", folder / "nvidia-smi", SOURCE / "smi.c", nvml])
    call(["strip", nvml, cuda, folder / "nvidia-smi"])


def stub(folder: Path) -> None:
    """Compile the library that stands for every one that nobody calls."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "stub.c"
    source.write_text("int simulated(void);\nint simulated(void) { return 1; }\n")
    call(["gcc", *SHARED, "-o", folder / "stub.so", source])


def key(folder: Path) -> None:
    """Make the key that the distributions sign their modules with, unless an earlier build has left one."""
    if (folder / "distribution.pem").exists():
        return
    subject = "/CN=Simulated distribution Secure Boot signing/O=stand-in for tests"
    days = ["-days", "36500"]
    pem, der = str(folder / "distribution.pem"), str(folder / "distribution.der")
    files = ["-keyout", pem, "-out", der, "-outform", "DER"]
    call(
        ["openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", *days, "-subj", subject, *files]
    )


def modules(kernels: list[str], driver: str, folder: Path, keys: Path) -> None:
    """Compile each module once and give every kernel its own copy, with its vermagic and a signature."""
    headers = folder / "headers"
    call(["sh", "-e", SOURCE / "overlay.sh", BUILD_RELEASE, headers])
    tree = Path("/lib/modules", BUILD_RELEASE)
    tree.mkdir(parents=True, exist_ok=True)
    (tree / "build").symlink_to(headers)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        built = dict(
            pool.map(lambda kind: (kind, _compile(kind, driver, folder / kind)), (*LICENSES, *KERNELS_OWN))
        )
        jobs = [
            (built[kind] / f"{name}.ko", folder / "kernels" / kernel / part / f"{name}.ko", kernel)
            for kernel in kernels
            for kind, name, part in _wanted(kernel)
        ]
        list(pool.map(lambda job: _for_kernel(job[0], job[1], job[2], keys), jobs))


def _wanted(kernel: str) -> list[tuple[str, str, str]]:
    prebuilt = [(kind, name, kind) for kind in LICENSES for name in MODULES]
    own = [(name, name, "") for name in KERNELS_OWN]
    return [*own, *(prebuilt if kernel.endswith("-generic") else [])]


def _compile(kind: str, driver: str, folder: Path) -> Path:
    if kind in KERNELS_OWN:
        put(folder, f"/{kind}.c", Copy(SOURCE / f"{kind}.c"))
        (folder / "Makefile").write_text(f"obj-m := {kind}.o\n")
    else:
        for path, content in module_source(Driver(driver, kind, kind), "/").items():
            put(folder, path, content)
    call(["make", "-C", f"/lib/modules/{BUILD_RELEASE}/build", f"M={folder}", "modules"])
    return folder


def _for_kernel(source: Path, target: Path, kernel: str, keys: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    section = target.with_suffix(".modinfo")
    call(["objcopy", "--strip-debug", f"--dump-section=.modinfo={section}", target])
    section.write_bytes(section.read_bytes().replace(BUILD_RELEASE.encode(), kernel.encode()))
    call(["objcopy", f"--update-section=.modinfo={section}", target])
    section.unlink()
    signer = next(Path("/usr/lib").glob("linux-kbuild-*/scripts/sign-file"))
    call([signer, "sha256", keys / "distribution.pem", keys / "distribution.der", target])
