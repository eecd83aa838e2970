# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from provisioner.fleet.origins import Origins

INI = """\
[gpu]
h1 ansible_host=192.0.2.1 serve_port=8001
h[02:04] serve_model='a model'
# serve_port=9 is only a comment
[gpu:vars]
serve_port = 8000
[all:vars]
serve_engine=vllm
"""


def test_an_ini_file_names_the_line_of_host_and_group(tmp_path: Path) -> None:
    path = tmp_path / "hosts.ini"
    path.write_text(INI)
    origins = Origins(str(path))
    assert origins.of("serve_port", "h1", ("gpu", "all")) == f"{path}:2 (host h1)"
    assert origins.of("serve_model", "h03", ("gpu", "all")) == f"{path}:3 (host h03)"
    assert origins.of("serve_port", "h02", ("gpu", "all")) == f"{path}:6 (group gpu)"
    assert origins.of("serve_engine", "h1", ("gpu", "all")) == f"{path}:8 (group all)"


def test_a_yaml_file_names_the_line_of_host_and_group(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(
        "all:\n  vars:\n    a: 1\n  children:\n    gpu:\n      hosts:\n        h1:\n          b: 2\n"
    )
    origins = Origins(str(path))
    assert origins.of("a", "h1", ("gpu", "all")) == f"{path}:3 (group all)"
    assert origins.of("b", "h1", ("gpu", "all")) == f"{path}:8 (host h1)"


def test_variable_folders_beside_the_inventory_are_searched(tmp_path: Path) -> None:
    path = tmp_path / "hosts.ini"
    path.write_text("[gpu]\nh1\n")
    (tmp_path / "group_vars/gpu").mkdir(parents=True)
    (tmp_path / "group_vars/gpu/serve.yml").write_text("---\nserve_port: 1\n")
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars/h1.yml").write_text("serve_model: a/b\n")
    origins = Origins(str(path))
    assert (
        origins.of("serve_port", "h1", ("gpu", "all")) == f"{tmp_path}/group_vars/gpu/serve.yml:2 (group gpu)"
    )
    assert origins.of("serve_model", "h1", ("gpu", "all")) == f"{tmp_path}/host_vars/h1.yml:1 (host h1)"


def test_the_command_line_is_named_when_it_set_the_variable(tmp_path: Path) -> None:
    path = tmp_path / "hosts.ini"
    path.write_text(INI)
    assert Origins(str(path), ["serve_port=1"]).of("serve_port", "h1", ("gpu",)) == "the command line (-e)"
    assert "hosts.ini" in Origins(str(path), ["my_serve_port=1"]).of("serve_port", "h1", ("gpu",))


def test_a_dynamic_inventory_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "dynamic"
    path.write_text("#!/bin/sh\nserve_port=1\n")
    assert Origins(str(path)).of("serve_port", "h1", ("all",)) == f"{path} (host h1)"
