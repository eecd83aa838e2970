# SPDX-License-Identifier: Apache-2.0
"""Start three lab hosts once for the end-to-end tests that need nothing special."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from provisioner import lab
from tests.e2e.machines import LAB, Done, Hub, Machines, started

FLEET = Path(__file__).with_name("fleet.ini")


@pytest.fixture(scope="session")
def machines() -> Iterator[Machines]:
    """Give three hosts: two to serve on, and one more."""
    with started(FLEET, LAB):
        yield Machines(FLEET)


@pytest.fixture(scope="session")
def bare(machines: Machines) -> Mapping[str, str]:
    """Describe every file of a host that has got nothing but the Python that Ansible runs on."""
    machines.apply("--limit", "ms", "--phase", "preflight")
    return lab.filesystem_digest("ms", lab=LAB)


@pytest.fixture(scope="session")
def first_apply(machines: Machines, bare: Mapping[str, str]) -> Done:
    """Make the bare hosts serve, once for all tests that need them to."""
    assert bare
    return machines.apply("--limit", "serving")


@pytest.fixture
def serving(machines: Machines, first_apply: Done) -> Machines:
    """Give hosts that serve and answer."""
    assert first_apply.code == 0
    return machines


@pytest.fixture
def hub(machines: Machines) -> Iterator[Hub]:
    """Give a hub without faults, and leave it so."""
    assert machines.inventory.is_file()
    found = Hub()
    found.reset()
    yield found
    found.reset()
