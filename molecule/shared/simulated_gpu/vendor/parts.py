# SPDX-License-Identifier: Apache-2.0
"""Lay out the files of a driver's parts, by the names that the tables give them; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from simulated_gpu.vendor.package import Content, Copy, Link, Text

SOURCE = Path(__file__).resolve().parents[1] / "source"
UNITS = "/usr/lib/systemd/system"
BLACKLIST = "blacklist nouveau\nblacklist nova_core\noptions nouveau modeset=0\n"
MODULE_SOURCES = ("Makefile", "nvidia.c", "part.c", "nvidia-uvm.c", "nvidia-modeset.c", "nvidia-drm.c")
LICENSES = {"open": "Dual MIT/GPL", "proprietary": "NVIDIA"}


@dataclass(frozen=True)
class Build:
    """Say where the compiled files lie and where a family of distributions keeps its libraries."""

    folder: Path
    libraries: str = "/usr/lib/x86_64-linux-gnu"
    redhat: bool = False


@dataclass(frozen=True)
class Driver:
    """One package's view of the driver: its version, which modules, and the package's own name."""

    version: str
    package: str
    modules: str = "open"
    module_name: str = "nvidia"

    @property
    def branch(self) -> int:
        """Return the branch."""
        return int(self.version.partition(".")[0])


Files = dict[str, Content]


def _library(build: Build, name: str, built: Path, version: str, links: tuple[str, ...]) -> Files:
    files: Files = {f"{build.libraries}/{name}.so.{version}": Copy(built)}
    return files | {f"{build.libraries}/{name}.so{link}": Link(f"{name}.so.{version}") for link in links}


def _nvml(build: Build, driver: Driver) -> Files:
    built = build.folder / "drivers" / driver.version / "libnvidia-ml.so"
    return _library(build, "libnvidia-ml", built, driver.version, (".1",)) | _search_path(build)


def _cuda(build: Build, driver: Driver) -> Files:
    built = build.folder / "drivers" / driver.version / "libcuda.so"
    return _library(build, "libcuda", built, driver.version, (".1", ""))


def _search_path(build: Build) -> Files:
    # The root file systems are Debian's, whose linker does not look there by itself.
    return {"/etc/ld.so.conf.d/simulated-lib64.conf": Text(f"{build.libraries}\n")} if build.redhat else {}


def _stub(build: Build, driver: Driver) -> Files:
    plain = driver.package.removeprefix("lib").partition(f"-{driver.branch}")[0].rstrip("1")
    return _library(build, f"lib{plain}", build.folder / "stub.so", driver.version, (".1",))


def _smi(build: Build, driver: Driver) -> Files:
    return {"/usr/bin/nvidia-smi": Copy(build.folder / "drivers" / driver.version / "nvidia-smi", 0o755)}


def program(name: str, version: str) -> Files:
    """Return a daemon's stand-in."""
    text = (SOURCE / "daemons" / name).read_text().replace("@VERSION@", version)
    return {f"/usr/bin/{name}": Text(text, 0o755)}


def unit(name: str) -> Files:
    """Return a daemon's unit."""
    return {f"{UNITS}/{name}": Text((SOURCE / "daemons" / name).read_text())}


def _persistenced(_: Build, driver: Driver) -> Files:
    return program("nvidia-persistenced", driver.version) | unit("nvidia-persistenced.service")


def _fabricmanager(_: Build, driver: Driver) -> Files:
    settings = "LOG_LEVEL=4\nLOG_FILE_NAME=/var/log/fabricmanager.log\nFABRIC_MODE=0\n"
    return {
        **program("nv-fabricmanager", driver.version),
        **unit("nvidia-fabricmanager.service"),
        "/usr/share/nvidia/nvswitch/fabricmanager.cfg": Text(settings),
    }


def _imex(_: Build, driver: Driver) -> Files:
    settings: Files = {"/etc/nvidia-imex/config.cfg": Text("LOG_LEVEL=4\n")}
    return program("nvidia-imex", driver.version) | unit("nvidia-imex.service") | settings


def _modprobe(_: Build, driver: Driver) -> Files:
    return program("nvidia-modprobe", driver.version)


def _mps(_: Build, driver: Driver) -> Files:
    says = f"#!/bin/sh\necho 'a stand-in for the MPS of {driver.version}' >&2\nexit 1\n"
    return {"/usr/bin/nvidia-cuda-mps-control": Text(says, 0o755)}


def _firmware(_: Build, driver: Driver) -> Files:
    files = ("gsp_ga10x.bin", "gsp_tu10x.bin")
    return {f"/usr/lib/firmware/nvidia/{driver.version}/{name}": Text("simulated\n") for name in files}


def _blacklist(_: Build, driver: Driver) -> Files:
    return {f"/usr/lib/modprobe.d/{driver.package}.conf": Text(BLACKLIST)}


def _dracut(*_: object) -> Files:
    names = "nvidia nvidia-drm nvidia-modeset nvidia-uvm"
    return {"/usr/lib/dracut/dracut.conf.d/99-nvidia-dracut.conf": Text(f'omit_drivers+=" {names} "\n')}


def module_source(driver: Driver, folder: str) -> Files:
    """Return the source that DKMS compiles, for one flavour of the modules."""
    files: Files = {f"{folder}/{name}": Text((SOURCE / "dkms" / name).read_text()) for name in MODULE_SOURCES}
    flavour = f"VERSION_OF_DRIVER := {driver.version}\nLICENSE_OF_DRIVER := {LICENSES[driver.modules]}\n"
    settings = (SOURCE / "dkms/dkms.conf").read_text()
    settings = settings.replace("@VERSION@", driver.version).replace("@MODULE@", driver.module_name)
    return {**files, f"{folder}/flavour.mk": Text(flavour), f"{folder}/dkms.conf": Text(settings)}


def _source(_: Build, driver: Driver) -> Files:
    return module_source(driver, f"/usr/src/{driver.module_name}-{driver.version}")


PARTS: Mapping[str, Callable[[Build, Driver], Files]] = {
    "nvml": _nvml,
    "cuda": _cuda,
    "library": _stub,
    "smi": _smi,
    "persistenced": _persistenced,
    "fabricmanager": _fabricmanager,
    "imex": _imex,
    "modprobe": _modprobe,
    "mps": _mps,
    "firmware": _firmware,
    "blacklist": _blacklist,
    "dracut": _dracut,
    "source": _source,
}


def files_of(build: Build, driver: Driver, parts: list[str]) -> Files:
    """Return the files of several parts."""
    found: Files = {}
    for part in parts:
        found |= PARTS[part](build, driver)
    return found
