# SPDX-License-Identifier: Apache-2.0
"""Every inventory that the repository ships is one that the command accepts, word by word."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.fleet import inventory, spec
from provisioner.runs import plan
from tests.contract import tree

SHIPPED = sorted([*(tree.ROOT / "inventories").iterdir(), *(tree.ROOT / "molecule").glob("*/*.ini")])


def test_there_is_the_embedded_inventory() -> None:
    assert tree.ROOT / "inventories/lab.ini" in SHIPPED


@pytest.mark.parametrize("path", SHIPPED, ids=tree.relative)
def test_uses_only_known_words(path: Path) -> None:
    fleet = spec.load(inventory.load(str(path)))
    assert plan.make(fleet).to_json()
    assert any(host.services for host in fleet.hosts)
