# SPDX-License-Identifier: Apache-2.0
"""Start three lab hosts once for all end-to-end tests, and one more for those of Ollama."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from provisioner import inventory, lab
from tests.e2e.machines import LAB, Done, Hub, Machines
from tests.e2e.ollama import HOST, Ollama

FLEET = Path(__file__).with_name("fleet.ini")


def _hosts() -> Mapping[str, Mapping[str, Any]]:
    hosts: Mapping[str, Mapping[str, Any]] = inventory.load(str(FLEET)).hosts
    return hosts


@pytest.fixture(scope="session")
def machines() -> Iterator[Machines]:
    """Start the hosts, and take them away again; PROVISION_KEEP_LAB=1 leaves them for a closer look."""
    if shutil.which("mmdebstrap") is None or shutil.which("podman") is None:
        pytest.fail("podman and mmdebstrap are needed for lab hosts: run scripts/bootstrap")
    quick = {name: words for name, words in _hosts().items() if not words.get("lab_releases")}
    keep = bool(os.environ.get("PROVISION_KEEP_LAB"))
    if not keep:
        lab.down(LAB, say=print)
    lab.up(quick, say=print)
    yield Machines(FLEET)
    if not keep:
        lab.down(LAB, say=print)


@pytest.fixture(scope="session")
def with_ollama(machines: Machines) -> Machines:
    """Start the host of Ollama as well, with its releases; the first time that may take minutes."""
    report = lab.up(_hosts(), say=print)
    missing = [origin for origin in report.releases if "not to be had" in origin]
    if missing:
        pytest.skip("; ".join(missing))
    return machines


@pytest.fixture(scope="session")
def ollama_host(with_ollama: Machines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Give the host of Ollama, and take it back in the end."""
    yield with_ollama
    inventory = Ollama(with_ollama, tmp_path_factory.mktemp("last")).inventory()
    with_ollama.provision("remove", inventory, "--limit", HOST, "--yes", "--json", "--models")


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
