# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.provision.containers import sources
from ansible.module_utils.provision.host.repository import out_of_sight

NVIDIA = "https://nvidia.github.io/libnvidia-container/stable/{kind}/{arch}"
MIRROR = "https://mirror.example.com/nvidia/{kind}/{arch}"
APT, DNF = "etc/apt/sources.list.d", "etc/yum.repos.d"


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        (f"{APT}/nvidia-container-toolkit.list", "deb [signed-by=/k] {n}/stable/deb/$(ARCH) /\n", True),
        (f"{APT}/libnvidia-container.list", "deb {n}/stable/ubuntu18.04/$(ARCH) /\n", True),
        (f"{APT}/nvidia-docker.list", "deb https://nvidia.github.io/nvidia-docker/ubuntu18.04/amd64 /", True),
        (f"{APT}/old.list", "# deb {n}/stable/deb/amd64 /\n", False),
        (f"{APT}/old.list.save", "deb {n}/stable/deb/amd64 /\n", False),
        (f"{APT}/x.sources", "Types: deb\nURIs: {n}/stable/deb/amd64\nSuites: /\n", True),
        (f"{APT}/x.sources", "Enabled: no\nTypes: deb\nURIs: {n}/stable/deb/amd64\nSuites: /\n", False),
        (f"{APT}/provision-container-toolkit.sources", "URIs: {n}/stable/deb/amd64\n", False),
        (f"{APT}/cuda.list", "deb https://mirror.example.com/nvidia/cuda/ubuntu2404 /\n", False),
        (f"{APT}/mirror.list", "deb https://mirror.example.com/nvidia/deb/$(ARCH) /\n", True),
        (f"{DNF}/nvidia-container-toolkit.repo", "[a]\nbaseurl={n}/stable/rpm/$basearch\nenabled=1\n", True),
        (f"{DNF}/nvidia-container-toolkit.repo", "[a]\nbaseurl={n}/stable/rpm/x86_64\nenabled = 0\n", False),
        (f"{DNF}/two.repo", "[a]\nbaseurl=http://a.example\nenabled=0\n[b]\nbaseurl={n}/x\n", True),
        ("etc/apt/sources.list", "deb {n}/stable/deb/amd64 /\n", True),
    ],
)
def test_finds_sources_however_they_are_spelt(tmp_path: Path, name: str, text: str, *, found: bool) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(text.replace("{n}", "https://nvidia.github.io/libnvidia-container"))
    assert sources.stale(MIRROR, tmp_path) == ([path] if found else [])


def test_nvidias_own_address_counts_whatever_the_inventory_names(tmp_path: Path) -> None:
    path = tmp_path / APT / "x.list"
    path.parent.mkdir(parents=True)
    path.write_text("deb https://nvidia.github.io/libnvidia-container/stable/deb/amd64 /\n")
    assert sources.stale(NVIDIA, tmp_path) == sources.stale(MIRROR, tmp_path) == [path]


def test_a_source_that_is_moved_away_comes_back_with_the_repository() -> None:
    path = Path("/etc/apt/sources.list.d/nvidia-docker.list")
    moved = out_of_sight(sources.NAME, path)
    assert moved.name == "nvidia-docker.list.provision-disabled-container-toolkit"
    assert sources.may_move(path)
    assert not sources.may_move(Path("/etc/apt/sources.list"))
