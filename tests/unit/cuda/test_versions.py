# SPDX-License-Identifier: Apache-2.0
"""What a version is called, which installer is its own, and which transactions a toolkit may have."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.provision.cuda import packages
from ansible.module_utils.provision.cuda.judge import judge
from ansible.module_utils.provision.cuda.versions import Toolkit, default, installer, read
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.packages import Changes

from tests.unit.cuda.conftest import TABLE

HASH = "ab" * 32
FILES = {
    "cuda_12.9.0_575.51.03_linux.run": HASH,
    "cuda_12.9.10_575.57.08_linux.run": HASH,
    "cuda_12.9.2_575.57.08_linux.run": HASH,
    "cuda_12.9.2_575.57.08_linux_sbsa.run": HASH,
    "cuda_13.4.1_linux.run": HASH,
}


def wanted(*versions: str, **more: Any) -> dict[str, Any]:
    base = {"versions": versions, "default": "", "source": "packages", "runfiles": FILES, "arch": "x86_64"}
    return {**base, **more}


def test_names_follow_from_the_version() -> None:
    (release, exact) = read(wanted("13.0", "12.9.1"))
    assert (release.package, release.exact, str(release)) == ("cuda-toolkit-13-0", "", "CUDA toolkit 13.0")
    assert (exact.package, exact.exact, str(exact)) == ("cuda-toolkit-12-9", "12.9.1", "CUDA toolkit 12.9.1")


@pytest.mark.parametrize(
    ("version", "arch", "name"),
    [
        ("12.9", "x86_64", "cuda_12.9.10_575.57.08_linux.run"),
        ("12.9.2", "x86_64", "cuda_12.9.2_575.57.08_linux.run"),
        ("12.9", "aarch64", "cuda_12.9.2_575.57.08_linux_sbsa.run"),
        ("13.4", "x86_64", "cuda_13.4.1_linux.run"),
    ],
)
def test_a_release_is_its_newest_known_installer(version: str, arch: str, name: str) -> None:
    assert installer(version, FILES, arch) == (name, HASH)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (wanted("13"), "cuda_toolkit_versions contains '13', which is not a version of CUDA"),
        (wanted("13.0", "13.0.2"), "contains CUDA 13.0 twice, and both would be in one directory"),
        (
            wanted("13.4", source="runfile", arch="aarch64"),
            "of an installer of CUDA 13.4 for aarch64; known are",
        ),
        (wanted("12.9", source="runfile", runfiles={"x.run": HASH}), "which is not an installer of CUDA"),
        (wanted("12.9", source="runfile", runfiles={"cuda_12.9.1_linux.run": "md5"}), "with its sha256"),
    ],
)
def test_what_cannot_be_is_refused_by_its_word(asked: dict[str, Any], text: str) -> None:
    with pytest.raises(Fault) as caught:
        read(asked)
    assert text in str(caught.value)
    assert caught.value.next_step


def test_the_default_is_the_first_or_one_of_the_list() -> None:
    toolkits = read(wanted("13.0", "12.9.1"))
    assert default(wanted("13.0", "12.9.1"), toolkits) == toolkits[0]
    for name in ("12.9", "12.9.1"):
        assert default(wanted("13.0", "12.9.1", default=name), toolkits) == toolkits[1]
    assert default(wanted(), []) is None
    with pytest.raises(Fault, match=r"cuda_toolkit_default is '11\.8', which is not among"):
        default(wanted("13.0", default="11.8"), toolkits)


def judged(version: str, architectures: list[str], driver: str = "", libc: str = "2.39") -> list[str]:
    found: list[str] = judge(read(wanted(version)), architectures, driver, libc, TABLE)
    return found


@pytest.mark.parametrize(
    ("version", "architectures", "driver", "text", "step"),
    [
        ("13.0", ["Maxwell"], "", "compiles nothing for Maxwell, and this host has no other", "of CUDA 12 "),
        ("13.0", ["Pascal", "Volta"], "", "compiles nothing for Pascal and Volta", "of CUDA 12 "),
        ("12.9", ["Kepler"], "", "compiles nothing for Kepler", "of CUDA 11 "),
        ("11.8", ["Fermi or older"], "", "compiles nothing for Fermi or older", "leave it out"),
        ("13.0", ["Hopper"], "570.124.06", "needs driver 580 or newer, but 570.124.06 is loaded", "580"),
        ("12.9", [], "470.256.02", "needs driver 525 or newer, but 470.256.02 is loaded", "older CUDA"),
        ("10.2", [], "", "is the oldest release that this tool supports", "CUDA 11 or newer"),
    ],
)
def test_a_host_that_cannot_use_a_version_is_told_so(
    version: str, architectures: list[str], driver: str, text: str, step: str
) -> None:
    with pytest.raises(Fault) as caught:
        judged(version, architectures, driver)
    assert text in str(caught.value)
    assert step in caught.value.next_step


@pytest.mark.parametrize(
    ("version", "architectures", "driver", "text"),
    [
        ("13.0", ["Pascal", "Ampere"], "", "compiles nothing for the Pascal GPUs of this host"),
        ("12.4", ["Blackwell"], "", "does not support Blackwell GPUs; CUDA 12.8 or newer is required"),
        ("12.9", ["Hopper"], "535.104.05", "was made with driver 575.51.03, but 535.104.05 is loaded"),
        ("14.0", ["Hopper"], "580.95.05", "is newer than the releases that this tool has data of"),
    ],
)
def test_what_works_only_half_is_a_warning(
    version: str, architectures: list[str], driver: str, text: str
) -> None:
    (said,) = judged(version, architectures, driver)
    assert text in said


@pytest.mark.parametrize(
    ("libc", "version", "newer"),
    [
        ("2.40", "12.9", ""),
        ("2.41", "12.9", "12.9"),
        ("2.41", "13.0", ""),
        ("2.42", "12.9", "13.1"),
        ("2.42", "13.1", "13.1"),
        ("2.43", "13.0", "13.1"),
        ("2.42", "13.2", ""),
        ("", "12.9", ""),
    ],
)
def test_headers_that_contradict_the_hosts_c_library_are_a_warning(
    libc: str, version: str, newer: str
) -> None:
    said = judged(version, [], libc=libc)
    assert len(said) == bool(newer)
    for line in said:
        assert f"compiles nothing on this host: its headers contradict glibc {libc}" in line
        assert f"list one newer than {newer} in" in line


@pytest.mark.parametrize("version", ["13.0", "12.9", "12.8"])
@pytest.mark.parametrize("gpu", ["Turing", "Ampere", "Ada", "Hopper", "Grace Hopper", "Blackwell"])
def test_todays_gpus_can_use_todays_versions(version: str, gpu: str) -> None:
    assert judged(version, [gpu], "610.57.04") == []


@pytest.mark.parametrize(
    "name",
    [
        "cuda",
        "cuda-13-0",
        "cuda-drivers",
        "cuda-drivers-580",
        "cuda-runtime-13-0",
        "nvidia-driver-580-open",
        "nvidia-dkms-open",
        "nvidia-open",
        "libnvidia-compute-580",
        "libcuda1",
        "kmod-nvidia-open-dkms",
        "nvidia-fs-dkms",
        "linux-image-6.8.0-90-generic",
        "kernel-core",
        "kernel",
    ],
)
def test_a_driver_or_kernel_is_refused(name: str) -> None:
    changes = Changes(frozenset({"cuda-toolkit-13-0", name}))
    with pytest.raises(Fault, match=f"would change {name}, but"):
        packages.refuse_drivers(changes, Toolkit("13.0", "", "packages"))


def test_what_belongs_to_a_toolkit_is_let_through() -> None:
    names = """cuda-toolkit-13-0 cuda-toolkit-13-0-config-common cuda-toolkit-13-config-common
        cuda-toolkit-config-common cuda-compiler-13-0 cuda-nvcc-13-0 cuda-cudart-13-0 cuda-cudart-dev-13-0
        cuda-driver-dev-13-0 cuda-libraries-13-0 cuda-libraries-dev-13-0 cuda-tools-13-0 cuda-nvml-dev-13-0
        libcublas-13-0 libcublas-dev-13-0 libnvjitlink-13-0 libnvvm-13-0 libnvfatbin-13-0 gds-tools-13-0
        nsight-compute-2025.3.1 nsight-systems-2025.3.2 kernel-headers linux-libc-dev gcc default-jre"""
    packages.refuse_drivers(Changes(frozenset(names.split())), Toolkit("13.0", "", "packages"))
