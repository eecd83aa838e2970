# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import provisioner
from provisioner.fleet import engines

SHIPPED = ("playbooks", "roles", "templates", "inventories/lab.ini")
CONTENT = "provisioner/_content/"


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith(("/", "/RECORD"))]
        return {name: archive.read(name) for name in names}


def files(folder: Path) -> list[Path]:
    found = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    return [path for path in found if path.is_file() and "__pycache__" not in path.parts]


def test_the_wheel_ships_the_tree_file_by_file(wheel: Path, checkout: Path) -> None:
    expected = {
        f"{CONTENT}{path.relative_to(checkout)}": path.read_bytes()
        for name in SHIPPED
        for path in files(checkout / name)
    }
    shipped = {name: data for name, data in contents(wheel).items() if name.startswith(CONTENT)}
    assert sorted(shipped) == sorted(expected)
    assert [name for name, data in shipped.items() if data != expected[name]] == []


def test_the_wheel_ships_the_whole_package_and_nothing_else(wheel: Path, checkout: Path) -> None:
    package = {str(path.relative_to(checkout)) for path in files(checkout / "provisioner")}
    shipped = {name for name in contents(wheel) if not name.startswith(CONTENT) and ".dist-info/" not in name}
    assert shipped == {name for name in package if not name.startswith(CONTENT)}


def test_a_wheel_made_from_the_sdist_is_the_same(wheel: Path, wheel_of_sdist: Path) -> None:
    assert contents(wheel_of_sdist) == contents(wheel)


@pytest.mark.parametrize("name", ["ansible/ssh_with_defaults", "ansible/askpass/ansible", "remote/askpass"])
def test_a_program_that_ansible_or_ssh_starts_can_be_started(installed: Path, name: str) -> None:
    (program,) = installed.glob(f"lib/python3*/site-packages/provisioner/{name}")
    assert os.access(program, os.X_OK)


def test_says_its_version_anywhere(provision: Callable[..., str]) -> None:
    assert provisioner.__version__ in provision("--version")


def test_lists_the_engines_anywhere(provision: Callable[..., str]) -> None:
    printed = provision("engines")
    assert [name for name in engines.load() if name not in printed] == []


def test_plans_the_embedded_inventory_anywhere(installed: Path, provision: Callable[..., str]) -> None:
    (inventory,) = installed.glob(f"lib/python3*/site-packages/{CONTENT}inventories/lab.ini")
    printed = provision("plan", inventory)
    expected = ("preflight", "host", "models", "serve", "verify", "vllm-hf", "vllm-ms")
    assert [word for word in expected if word not in printed] == []
