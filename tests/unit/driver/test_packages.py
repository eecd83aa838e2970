# SPDX-License-Identifier: Apache-2.0
"""Names of packages by platform and branch, and what is told from what is installed."""

from __future__ import annotations

import pytest
from ansible.module_utils.provision.driver import installed as nvidia_installed
from ansible.module_utils.provision.driver import packages as nvidia_packages
from ansible.module_utils.provision.driver.packages import System, packages

KERNEL = "6.8.0-90-generic"


def system(name: str, arch: str = "x86_64") -> System:
    distribution, _, version = name.partition("-")
    family = "redhat" if distribution == "rocky" else "debian"
    return System(distribution, family, version, int(version.split(".")[0]), arch)


@pytest.mark.parametrize(
    ("name", "streams"),
    # As a string, 10 comes before 8 and 9, and gets streams that it does not have.
    [("ubuntu-24.04", False), ("rocky-8.10", True), ("rocky-9.4", True), ("rocky-10.1", False)],
)
def test_branches_are_streams_in_some_repositories(name: str, *, streams: bool) -> None:
    assert bool(packages(system(name), "nvidia", 580, "open", "").streams) is streams


@pytest.mark.parametrize(
    ("name", "branch", "modules", "names", "streams"),
    [
        ("ubuntu-24.04", 580, "open", ("libnvidia-compute-580", "nvidia-dkms-580-open"), ()),
        ("ubuntu-24.04", 580, "proprietary", ("libnvidia-compute-580", "nvidia-dkms-580"), ()),
        ("ubuntu-26.04", 595, "open", ("libnvidia-compute", "nvidia-dkms-open"), ()),
        ("ubuntu-22.04", 595, "proprietary", ("libnvidia-compute", "nvidia-dkms"), ()),
        ("debian-12", 580, "open", ("nvidia-driver-cuda", "nvidia-kernel-open-dkms"), ()),
        (
            "rocky-8.10",
            580,
            "open",
            ("nvidia-driver-cuda", "kmod-nvidia-open-dkms"),
            ("580-open", "open-dkms"),
        ),
        (
            "rocky-9.4",
            580,
            "proprietary",
            ("nvidia-driver-cuda", "kmod-nvidia-latest-dkms"),
            ("580-dkms", "latest-dkms"),
        ),
        ("rocky-10.1", 595, "open", ("nvidia-driver-cuda", "kmod-nvidia-open-dkms"), ()),
    ],
)
def test_packages_of_nvidia(
    name: str, branch: int, modules: str, names: tuple[str, ...], streams: tuple[str, ...]
) -> None:
    found = packages(system(name), "nvidia", branch, modules, KERNEL)
    assert found.driver[:2] == names
    assert found.streams == streams
    assert found.dkms


def test_ubuntus_own_module_is_for_one_kernel_and_is_not_compiled() -> None:
    found = packages(system("ubuntu-24.04"), "distribution", 580, "open", KERNEL)
    assert f"linux-modules-nvidia-580-server-open-{KERNEL}" in found.driver
    assert not found.dkms


def test_a_desktops_driver_is_not_mixed_with_the_one_for_servers() -> None:
    found = packages(system("ubuntu-24.04"), nvidia_packages.DESKTOP, 580, "open", KERNEL)
    assert f"linux-modules-nvidia-580-open-{KERNEL}" in found.driver
    assert not [name for name in found.driver if "server" in name]
    assert nvidia_packages.archive_driver(["nvidia-driver-580-open", "libnvidia-compute-580"]) == "desktop"
    for names in (["nvidia-utils-580-server", "libnvidia-compute-580-server"], ["bash", "nvidia-settings"]):
        assert nvidia_packages.archive_driver(names) == "distribution"


@pytest.mark.parametrize(
    ("version", "driver"),
    [
        ("580.159.04-1ubuntu1", "580.159.04"),
        ("3:580.105.08-1.el9", "580.105.08"),
        ("595.84-0ubuntu0.24.04.1", "595.84"),
        ("1.20.1-1", None),
        ("13.0.2-1", None),
    ],
)
def test_driver_version(version: str, driver: str | None) -> None:
    assert nvidia_packages.driver_version(version) == driver


@pytest.mark.parametrize(
    ("name", "belongs"),
    [
        ("nvidia-dkms-580-open", True),
        ("libnvidia-compute-580", True),
        ("libcuda1", True),
        ("cuda-drivers-580", True),
        ("linux-modules-nvidia-580-server-open-6.8.0-90-generic", True),
        ("kmod-nvidia-open-dkms", True),
        ("nvidia-container-toolkit", False),
        ("libnvidia-container1", False),
        ("nvidia-container-toolkit-base", False),
        ("nvidia-cuda-toolkit", False),
        ("cuda-toolkit-13-0", False),
        ("linux-image-6.8.0-90-generic", False),
        ("cuda-compat-12-9", False),
        ("nvidia-gds", False),
        ("nvidia-fs-dkms", False),
        ("nvidia-fs", False),
        ("libnvidia-fbc1-580", True),
        ("libnvidia-ml-dev", False),
        ("libxnvctrl0", False),
        ("nvidia-detect", False),
        ("nvidia-profiler", False),
    ],
)
def test_what_belongs_to_a_driver(name: str, belongs: bool) -> None:
    assert nvidia_packages.is_family(name) is belongs


@pytest.mark.parametrize(
    ("name", "installed", "runfile", "origin", "version"),
    [
        ("ubuntu-24.04", {}, None, "none", None),
        ("ubuntu-24.04", {"nvidia-dkms-580-open": "580.159.04-1ubuntu1"}, None, "nvidia", "580.159.04"),
        ("ubuntu-24.04", {"nvidia-dkms-580-open": "580.65.06-0ubuntu1"}, None, "nvidia", "580.65.06"),
        (
            "ubuntu-24.04",
            {"nvidia-utils-580-server": "580.173.02-0ubuntu0.24.04.1"},
            None,
            "distribution",
            "580.173.02",
        ),
        (
            "ubuntu-24.04",
            {"nvidia-utils-580": "580.95.05-0ubuntu0.24.04.2"},
            None,
            "distribution",
            "580.95.05",
        ),
        ("ubuntu-24.04", {}, "580.105.08", "runfile", "580.105.08"),
        ("ubuntu-24.04", {"nvidia-utils-580": "580.95.05-1ubuntu1"}, "580.105.08", "mixed", "580.105.08"),
        ("debian-13", {"nvidia-driver-cuda": "580.159.04-1"}, None, "nvidia", "580.159.04"),
        ("debian-13", {"libcuda1": "550.163.01-2"}, None, "distribution", "550.163.01"),
        (
            "rocky-9.4",
            # The services of the fabric have no epoch, though NVIDIA's they are.
            {"nvidia-driver-cuda": "3:580.159.04-1.el9", "nvidia-fabricmanager": "0:580.159.04-1"},
            None,
            "nvidia",
            "580.159.04",
        ),
        (
            "ubuntu-24.04",
            {"nvidia-utils-580": "580.159.04-1ubuntu1", "nvidia-fabricmanager": "580.178.04-1ubuntu1"},
            None,
            "nvidia",
            "580.159.04",
        ),
        ("rocky-9.4", {"kmod-nvidia": "0:570.86-1.el9"}, None, "foreign", "570.86"),
        ("ubuntu-24.04", {"nvidia-container-toolkit": "1.20.1-1"}, None, "none", None),
    ],
)
def test_where_a_driver_came_from(
    name: str, installed: dict[str, str], runfile: str | None, origin: str, version: str | None
) -> None:
    found = nvidia_installed.judge(system(name), installed, runfile)
    assert (found.origin, found.version) == (origin, version)


@pytest.mark.parametrize(
    "name", ["nvidia-settings", "nvidia-firmware-580", "nvidia-modprobe", "nvidia-kernel-common-580"]
)
def test_what_another_driver_left_behind_is_no_driver(name: str) -> None:
    found = nvidia_installed.judge(system("ubuntu-24.04"), {name: "510.47.03-0ubuntu1"}, None)
    assert (found.origin, found.version) == ("none", None)
    by_runfile = nvidia_installed.judge(system("ubuntu-24.04"), {name: "510.47.03-0ubuntu1"}, "580.105.08")
    assert (by_runfile.origin, by_runfile.version) == ("runfile", "580.105.08")


def test_what_is_not_of_the_drivers_version_is_named() -> None:
    packages = {
        "libnvidia-compute-580": "580.159.04-1ubuntu1",
        "nvidia-persistenced": "610.57.04-1ubuntu1",
        "nvidia-fabricmanager": "580.178.04-1ubuntu1",
        "nvidia-settings": "510.47.03-0ubuntu1",
    }
    driver = nvidia_installed.judge(system("ubuntu-24.04"), packages, None)
    assert driver.version == "580.159.04"
    assert nvidia_installed.strays(driver) == [
        "nvidia-fabricmanager is of version 580.178.04, but the driver of 580.159.04",
        "nvidia-persistenced is of version 610.57.04, but the driver of 580.159.04",
    ]
