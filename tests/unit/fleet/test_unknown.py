# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest

from provisioner.fleet import spec
from provisioner.fleet.inventory import Inventory
from tests.unit.fleet.test_spec import fleet_of, problems_of

HOST = "[gpu]\ngpu1 serve_engine=vllm serve_model=a/b\n[gpu:vars]\n"


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("nvidia_driver_branch=580", "use nvidia_driver_version"),
        ("nvidia_driver_ubuntu_branch=580", "use nvidia_driver_version"),
        ("nvidia_driver_package_version=580.95.05", "use nvidia_driver_version"),
        ("nvidia_driver_package_state=present", "use nvidia_driver_state"),
        ("nvidia_driver_skip_reboot=true", "use nvidia_driver_reboot: never"),
        ("nvidia_driver_ubuntu_install_from_cuda_repo=true", "use nvidia_driver_source"),
        ("nvidia_driver_rhel_cuda_repo_baseurl=https://a", "use nvidia_driver_repository"),
        ("nvidia_driver_persistence_mode_on=true", "add it to host_base_foreign_variables"),
    ],
)
def test_a_variable_of_nvidias_role_is_known_with_what_has_its_meaning_here(
    tmp_path: Path, line: str, meant: str
) -> None:
    (said,) = problems_of(tmp_path / "hosts.ini", HOST + line)
    assert "belongs to NVIDIA's role nvidia.nvidia_driver" in said
    assert meant in said
    assert said.endswith("add it to host_base_foreign_variables to keep it for that role")


@pytest.mark.parametrize("listed", ["nvidia_driver_branch", "nvidia_driver_*", "{{ theirs }}"])
def test_variables_of_other_roles_are_left_alone_where_they_are_listed(tmp_path: Path, listed: str) -> None:
    text = (
        f"{HOST}nvidia_driver_branch=580\ntheirs=nvidia_driver_b*\nhost_base_foreign_variables=['{listed}']\n"
    )
    assert len(fleet_of(tmp_path / "hosts.ini", text).hosts) == 1
    # What is ours is checked all the same.
    (said,) = problems_of(tmp_path / "hosts.ini", f"{text}nvidia_driver_version=old\n")
    assert said.startswith("nvidia_driver_version: is neither a driver branch")


def test_any_other_name_with_a_prefix_of_the_tool_says_how_to_keep_it(tmp_path: Path) -> None:
    (said,) = problems_of(tmp_path / "hosts.ini", f"{HOST}container_runtime_shim_binary=/x\n")
    assert said.endswith("(if another role reads it, add it to host_base_foreign_variables)")


def test_facts_of_an_earlier_run_are_no_variables_of_the_inventory(tmp_path: Path) -> None:
    given = {
        "serve_engine": "vllm",
        "serve_model": "a/b",
        "provision_services": [{}],
        "host_probe": {"os": {}},
    }
    source = tmp_path / "hosts.ini"
    source.write_text("gpu1\n")
    cached = Inventory(str(source), {"gpu1": given}, {"gpu1": ("all",)})
    assert [service.unit for service in spec.load(cached).hosts[0].services] == ["vllm.service"]
    bare = Inventory(str(source), {"gpu1": {"provision_models": []}}, {"gpu1": ("all",)})
    assert spec.load(bare).hosts[0].is_bare
    # Whoever sets one means something else.
    (said,) = problems_of(source, f"gpu1 provision_services='{json.dumps([1])}'\n")
    assert "did you mean serve_services?" in said
