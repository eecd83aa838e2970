# SPDX-License-Identifier: Apache-2.0
"""Start a host for the tests of Ollama once, with its releases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.machines import Hub, Machines, inventory_with, started
from tests.e2e.ollama.services import HOST, NEW, OLD, OLDEST, Ollama

LAB = "e2e-ollama"
HUB_PORT = 2287
FLEET = Path(__file__).with_name("fleet.ini")
RELEASES = f"'ollama={NEW}', 'ollama={OLD}'"


@pytest.fixture(scope="session")
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the inventory; an exhaustive run has one more release, which takes minutes to make."""
    if not request.config.getoption("--exhaustive"):
        return FLEET
    more = [(RELEASES, f"{RELEASES}, 'ollama={OLDEST}'")]
    return inventory_with(tmp_path_factory.mktemp("fleet"), FLEET, more)


@pytest.fixture(scope="session")
def ollama_host(fleet: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Give the host once everything has been applied to it, and have that removed in the end."""
    with started(fleet, LAB) as report:
        missing = [origin for origin in report.releases if "not available" in origin]
        if missing:
            pytest.skip("; ".join(missing))
        machines = Machines(fleet, lab=LAB)
        ollama = Ollama(machines, tmp_path_factory.mktemp("words"))
        ollama.apply(only=())
        yield machines
        inventory = ollama.inventory()
        machines.provision("remove", inventory, "--limit", HOST, "--yes", "--json", "--models")


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Give a hub without faults, and leave it so."""
    found = Hub(HUB_PORT)
    found.reset()
    yield found
    found.reset()
