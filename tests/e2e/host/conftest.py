# SPDX-License-Identifier: Apache-2.0
"""Start one host for the tests that need no engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.machines import Hub, Machines, started

LAB, HOST = "e2e-host", "one"
HUB_PORT = 2285
FLEET = Path(__file__).with_name("fleet.ini")


@pytest.fixture(scope="session")
def machines() -> Iterator[Machines]:
    """Give the host, with the Python that Ansible needs."""
    with started(FLEET, LAB):
        found = Machines(FLEET, lab=LAB)
        found.apply("--phase", "preflight")
        yield found


@pytest.fixture
def hub(machines: Machines) -> Iterator[Hub]:
    """Give a hub without faults, and leave it so."""
    assert machines.inventory.is_file()
    found = Hub(HUB_PORT)
    found.reset()
    yield found
    found.reset()
