# SPDX-License-Identifier: Apache-2.0
"""Start hosts with simulated GPUs once for all tests of the driver: one with apt, one with dnf."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner import lab
from tests.e2e.gpu.boxes import ROCKY, UBUNTU, Boxes, lab_of
from tests.e2e.machines import inventory_with

FLEET = Path(__file__).with_name("fleet.ini")
# What the inventory of one host's lab leaves out and has another of.
ALONE = {
    UBUNTU: [("rocky ansible_port=2272 lab_image=rocky9\n", "")],
    ROCKY: [("ubuntu ansible_port=2271 lab_image=ubuntu2404\n", ""), ("=2288", "=2286")],
}


@pytest.fixture(scope="session")
def boxes_of(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Boxes]]:
    """Start a host's lab when a test first wants it; PROVISION_KEEP_LAB=1 leaves it for a closer look."""
    keep = bool(os.environ.get("PROVISION_KEEP_LAB"))
    found: dict[str, Boxes] = {}

    def start(host: str) -> Boxes:
        if host not in found:
            replaced = [*ALONE[host], ("lab_name=e2e-gpu", f"lab_name={lab_of(host)}")]
            replaced.append(("provision/lab/e2e-gpu", f"provision/lab/{lab_of(host)}"))
            fleet = inventory_with(tmp_path_factory.mktemp(host), FLEET, replaced)
            if not keep:
                lab.down(lab_of(host), say=print)
            create(checkout, fleet)
            found[host] = Boxes(fleet, checkout)
        return found[host]

    yield start
    for host in () if keep else found:
        lab.down(lab_of(host), say=print)


def create(checkout: Path, fleet: Path) -> None:
    """Start the hosts of an inventory, with simulated GPUs."""
    argv: list[str | Path] = [sys.executable, checkout / "molecule/shared/simulated_gpu/create.py", fleet]
    done = subprocess.run(argv, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.fixture
def boxes(boxes_of: Callable[[str], Boxes], host: str) -> Boxes:
    """Give the host that the test is about."""
    return boxes_of(host)
