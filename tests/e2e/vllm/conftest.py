# SPDX-License-Identifier: Apache-2.0
"""Start two lab hosts that serve with vLLM once for all tests that ask them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from provisioner import lab
from provisioner.fleet import inventory
from tests.e2e.machines import LAB, Done, Hub, Machines, started

FLEET = Path(__file__).with_name("fleet.ini")


@pytest.fixture(scope="session")
def machines() -> Iterator[Machines]:
    """Give the first of two hosts to serve on."""
    with started(FLEET, LAB, "hf"):
        yield Machines(FLEET)


@pytest.fixture(scope="session")
def bare(machines: Machines) -> Mapping[str, str]:
    """Describe every file of a host that has got nothing but the Python that Ansible runs on."""
    machines.apply("--limit", "hf", "--phase", "preflight")
    return lab.filesystem_digest("hf", lab=LAB)


@pytest.fixture(scope="session")
def first_apply(machines: Machines, bare: Mapping[str, str]) -> Done:
    """Make the bare host serve, once for all tests."""
    assert bare
    return machines.apply("--limit", "hf")


@pytest.fixture(scope="session")
def both(machines: Machines, first_apply: Done) -> Done:
    """Start the second host as the first is now, but for the service, and have it serve another model."""
    assert first_apply.code == 0
    machines.sh("hf", "systemctl disable --quiet vllm.service")
    try:
        lab.up(inventory.load(str(FLEET)).hosts, say=print, copies={"ms": "hf"})
    finally:
        machines.sh("hf", "systemctl enable --quiet vllm.service")
    return machines.apply("--limit", "serving")


@pytest.fixture
def serving(machines: Machines, both: Done) -> Machines:
    """Give hosts that serve and answer."""
    assert both.code == 0
    return machines


@pytest.fixture
def hub(machines: Machines) -> Iterator[Hub]:
    """Give a hub without faults, and leave it so."""
    assert machines.inventory.is_file()
    found = Hub()
    found.reset()
    yield found
    found.reset()
