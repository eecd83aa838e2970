# SPDX-License-Identifier: Apache-2.0
"""Start two hosts with simulated GPUs once for all tests of the driver: one with apt, one with dnf."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner import lab
from tests.e2e.gpu.boxes import LAB, Boxes

FLEET = Path(__file__).with_name("fleet.ini")


@pytest.fixture(scope="session")
def boxes(checkout: Path) -> Iterator[Boxes]:
    """Start the hosts, and take them away again; PROVISION_KEEP_LAB=1 leaves them for a closer look."""
    keep = bool(os.environ.get("PROVISION_KEEP_LAB"))
    if not keep:
        lab.down(LAB, say=print)
    argv: list[str | Path] = [sys.executable, checkout / "molecule/shared/simulated_gpu/create.py", FLEET]
    done = subprocess.run(argv, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    yield Boxes(FLEET, checkout)
    if not keep:
        lab.down(LAB, say=print)
