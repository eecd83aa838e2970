# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from simulated_gpu.vendor import drivers
from simulated_gpu.vendor.main import table
from simulated_gpu.vendor.package import Package, control, deb_file, spec
from simulated_gpu.vendor.parts import Build

BUILD = Build(Path("/built"))
REDHAT = Build(Path("/built"), "/usr/lib64", redhat=True)
ROWS: Any = table("drivers")


def named(packages: list[Package]) -> dict[str, Package]:
    found = {package.name: package for package in packages}
    assert len(found) == len(packages), "a name is there twice"
    return found


def test_every_part_of_a_driver_wants_the_others_at_its_own_version() -> None:
    found = named(drivers.ubuntu(ROWS, "580.159.04", BUILD))
    text = control(found["nvidia-dkms-580-open"])
    assert "Version: 580.159.04-1ubuntu1\n" in text
    assert "nvidia-kernel-source-580-open (= 580.159.04-1ubuntu1)" in text
    assert "nvidia-kernel-common-580 (= 580.159.04-1ubuntu1)" in text


def test_a_metapackage_does_not_pin_what_it_needs() -> None:
    found = named(drivers.ubuntu(ROWS, "580.159.04", BUILD))
    assert found["nvidia-open-580"].depends == ("nvidia-driver-580-open (>= 580.159.04)",)
    assert found["nvidia-open"].depends == ("nvidia-open-580 (>= 580.159.04)",)


def test_since_590_no_name_has_the_branch() -> None:
    found = named(drivers.ubuntu(ROWS, "595.84", BUILD))
    assert {"nvidia-dkms-open", "nvidia-dkms", "libnvidia-compute", "nvidia-open", "cuda-drivers"} <= set(
        found
    )
    assert [name for name in found if "595" in name] == [
        "nvidia-driver-pinning-595",
        "nvidia-driver-pinning-595.84",
    ]
    assert found["libnvidia-compute"].conflicts == ("libnvidia-compute-580",)
    assert found["nvidia-dkms-open"].conflicts == ("nvidia-dkms", "nvidia-dkms-580-open")


def test_debian_never_has_the_branch_in_a_name() -> None:
    found = named(drivers.debian(ROWS, "580.159.04", BUILD))
    assert "nvidia-kernel-open-dkms" in found
    assert "nvidia-kernel-dkms" in found
    assert deb_file(found["nvidia-driver-cuda"]) == "nvidia-driver-cuda_580.159.04-1_amd64.deb"


def test_the_flavours_of_the_modules_differ_in_their_license() -> None:
    found = named(drivers.ubuntu(ROWS, "580.159.04", BUILD))
    licences = [
        found[f"nvidia-kernel-source-580{kind}"].files["/usr/src/nvidia-580.159.04/flavour.mk"]
        for kind in ("-open", "")
    ]
    assert "Dual MIT/GPL" in str(licences[0])
    assert ":= NVIDIA" in str(licences[1])


def test_rpms_have_their_epoch_and_say_which_modules_they_bring() -> None:
    found = named(drivers.redhat(ROWS, "580.178.04", 9, REDHAT))
    opened = found["kmod-nvidia-open-dkms"]
    assert opened.full_version == "3:580.178.04-1.el9"
    assert opened.provides == ("nvidia-kmod = 3:580.178.04-1.el9",)
    assert opened.conflicts == ("kmod-nvidia-latest-dkms",)
    assert "/usr/src/nvidia-open-580.178.04/dkms.conf" in opened.files
    assert "/usr/src/nvidia-580.178.04/dkms.conf" in found["kmod-nvidia-latest-dkms"].files
    assert found["nvidia-fabricmanager"].full_version == "580.178.04-1.el9"


def test_a_scriptlet_of_dkms_never_fails_in_an_rpm() -> None:
    text = spec("driver", drivers.redhat(ROWS, "580.178.04", 9, REDHAT), Path("/stage"))
    script = text.partition("%post -n kmod-nvidia-open-dkms\n")[2].partition("%preun")[0]
    assert script.count("dkms ") == script.count("|| :") == 3


@pytest.mark.parametrize("major", [8, 9])
def test_streams_list_packages_that_are_there(major: int) -> None:
    there = {
        f"{one.name}-{one.epoch or 0}:{one.version}-{one.release}.{'noarch' if one.any_arch else 'x86_64'}"
        for version in ROWS["versions"]
        for one in drivers.redhat(ROWS, version, major, REDHAT)
    }
    documents = list(yaml.safe_load_all(drivers.streams(ROWS, major).replace("...\n", "")))
    streams = {one["data"]["stream"]: set(one["data"]["artifacts"]["rpms"]) for one in documents[:-1]}
    assert documents[-1]["data"] == {"module": "nvidia-driver", "stream": "open-dkms"}
    assert set().union(*streams.values()) <= there
    versions = {nevra.split(":")[1].rpartition("-")[0] for nevra in streams["580-open"]}
    assert versions == {"580.105.08", "580.159.04", "580.178.04"}
    assert not [nevra for nevra in streams["580-open"] if "latest-dkms" in nevra]
    assert not [nevra for nevra in streams["580-dkms"] if "open-dkms" in nevra]
    # What is outside streams can always be had; what is inside only with one.
    assert not [nevra for stream in streams.values() for nevra in stream if "fabricmanager" in nevra]
