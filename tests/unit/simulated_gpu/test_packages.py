# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import gzip
import io
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from simulated_gpu import build
from simulated_gpu.vendor import cuda, kernels, kernels_apt, kernels_dnf, main, runfiles, scripts, standins
from simulated_gpu.vendor.main import table
from simulated_gpu.vendor.package import Link, Package, Text, control, own_folders, spec
from simulated_gpu.vendor.tools import put

BUILT = Path("/built")


def test_a_package_says_that_it_is_a_stand_in() -> None:
    package = Package("thing", "1", "2", "a thing")
    assert "(stand-in for tests)" in control(package)
    assert "/usr/share/doc/thing/STAND-IN.txt" in package.content


def test_a_spec_keeps_the_signs_of_shell_scripts() -> None:
    package = Package("thing", "1", "2", "a thing", scripts={"post": "echo ${name%.rpm}"})
    assert "%post -n thing\necho ${name%%.rpm}\n" in spec("group", [package], Path("/stage"))


def test_an_rpm_takes_the_folders_along_that_are_its_own() -> None:
    files = {"/usr/local/cuda-13.0/bin/nvcc": Text(""), "/usr/bin/thing": Text("")}
    package = Package("thing", "1", "2", "a thing", files=files)
    assert own_folders(package) == ["/usr/local/cuda-13.0", "/usr/local/cuda-13.0/bin"]


def test_files_are_written_as_they_are_described(tmp_path: Path) -> None:
    put(tmp_path, "/usr/bin/thing", Text("#!/bin/sh\n", 0o755))
    put(tmp_path, "/usr/bin/other", Link("thing"))
    assert (tmp_path / "usr/bin/thing").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "usr/bin/other").read_text() == "#!/bin/sh\n"


def test_a_kernel_of_ubuntu_builds_its_initramfs_and_runs_dkms() -> None:
    row = table("kernels")["ubuntu"]["ubuntu2404"]
    found = {package.name: package for package in kernels_apt.ubuntu(row, BUILT) if package.depends}
    image = found["linux-image-6.8.0-90-generic"]
    assert "run-parts" in image.scripts["postinst"]
    assert "/etc/kernel/postinst.d" in image.scripts["postinst"]
    # The newest wins where two packages of one name are there.
    assert found["linux-generic"].full_version == "6.8.0.94.96"
    assert "linux-image-generic (= 6.8.0.94.96)" in found["linux-generic"].depends


def test_a_kernel_of_debian_has_its_modules_in_the_image_and_is_followed_by_name() -> None:
    row = table("kernels")["debian"]["debian13"]
    found = {package.name: package for package in kernels_apt.debian(row, BUILT)}
    image = found["linux-image-6.12.48+deb13-amd64"]
    assert "/usr/lib/modules/6.12.48+deb13-amd64/kernel/drivers/gpu/drm/nouveau/nouveau.ko" in image.files
    assert image.full_version == "6.12.48-1"
    assert found["linux-image-amd64"].depends == ("linux-image-6.12.57+deb13-amd64",)
    assert found["linux-headers-amd64"].depends == ("linux-headers-6.12.57+deb13-amd64",)


@pytest.mark.parametrize(
    ("name", "where", "parts"),
    [("rocky8", "BaseOS", set()), ("rocky9", "AppStream", {"kernel-devel-matched", "kernel-modules-core"})],
)
def test_a_kernel_of_rocky_lies_where_rocky_has_it(name: str, where: str, parts: set[str]) -> None:
    row = table("kernels")["rocky"][name]
    found = kernels_dnf.rocky(row, row["kernels"][0], BUILT)
    names = {package.name for package in found[where]}
    assert "kernel-devel" in names
    every = {package.name for packages in found.values() for package in packages}
    assert every & {"kernel-devel-matched", "kernel-modules-core"} == parts


def test_every_kernel_has_a_name_of_its_own() -> None:
    names = kernels.names(table("kernels"))
    assert len(names) == len(set(names)) == 19


def test_signed_modules_are_of_the_server_branch() -> None:
    row: Any = table("kernels")["ubuntu"]["ubuntu2404"]
    found = {package.name: package for package in kernels_apt.prebuilt(row, "580.178.04", BUILT)}
    package = found["linux-modules-nvidia-580-server-open-6.8.0-94-generic"]
    assert "nvidia-kernel-common-580-server (>= 580.178.04)" in package.depends
    assert found["linux-modules-nvidia-580-server-open-generic"].depends == (package.name,)


def test_apt_passes_a_failed_compilation_on_only_when_it_is_asked_to() -> None:
    script = scripts.deb_scripts("dkms", "nvidia", "580.159.04")["postinst"]
    assert "dkms=refuse" in script
    assert "exit 10" in script


def test_a_toolkit_brings_no_driver_and_the_bare_package_does() -> None:
    found = {one.name: one for one in cuda.packages(table("cuda"), "13.0", "13.0.2", redhat=False)}
    needed = {one.partition(" ")[0] for one in found["cuda-toolkit-13-0"].depends}
    assert needed <= set(found)
    assert "cuda-drivers (>= 580)" in found["cuda-13-0"].depends
    assert "cuda-toolkit" not in {
        one.name for one in cuda.packages(table("cuda"), "12.9", "12.9.1", redhat=True)
    }


def test_nvcc_tells_its_version() -> None:
    assert "release 12.9, V12.9.86" in cuda.nvcc(table("cuda"), "12.9").content


def test_a_runfile_carries_its_archive_behind_the_last_line() -> None:
    name, content = runfiles.toolkit(table("cuda"), "13.0")
    assert name == "cuda_13.0.2_580.95.05_linux.run"
    head, _, packed = content.partition(b"\n# The archive follows.\n")
    assert b"@" not in head.replace(b'"$@"', b"")
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(base64.b64decode(packed)))) as archive:
        assert archive.getmember("bin/nvcc").mode == 0o755


def test_the_stand_ins_of_rocky_have_names_and_epochs() -> None:
    rows = table("rocky")["AppStream"]
    podman = next(one for one in standins.rocky(rows, 9) if one.name == "podman")
    assert podman.full_version == "6:5.6.0-1.el9"
    assert "simulated" in str(podman.files["/usr/bin/podman"])


def test_only_the_platforms_that_are_asked_for_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["main", "/out", *build.USUAL])
    assert list(main.platforms_of("ubuntu")) == ["ubuntu2404"]
    assert main.platforms_of("debian") == {}
    assert main.majors() == [9, 10]
    assert set(build.USUAL) < set(build.every_platform())
