# SPDX-License-Identifier: Apache-2.0
"""Give every test the checkout's path and keep it away from the user's own files and settings."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import ansible.module_utils
import pytest

pytest_plugins = [
    "tests.distribution",
    "tests.exhaustive",
    "tests.quick",
    "tests.sharing",
    "tests.slowest",
    "tests.savings",
]

CHECKOUT = Path(__file__).resolve().parents[1]
E2E = CHECKOUT / "tests" / "e2e"

# Modules find this project's module_utils, and those of its roles, as Ansible's wrapper lets them on a host.
for folder in (CHECKOUT / "provisioner/ansible/module_utils", *CHECKOUT.glob("roles/*/module_utils")):
    ansible.module_utils.__path__.append(str(folder))

NUMBERS = itertools.count()
# What a developer may have exported, and what must not change the outcome of a test.
FOREIGN = ("ANSIBLE_", "PROVISION_", "NO_COLOR", "FORCE_COLOR", "COLUMNS")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(E2E):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def checkout() -> Path:
    return CHECKOUT


@pytest.fixture(autouse=True)
def xdg(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Point the XDG folders at the test's own; end-to-end tests keep theirs, container storage is there.

    They are not made: most tests need none, and folders are slow to make and to remove.
    """
    base = tmp_path_factory.getbasetemp() / "xdg" / str(next(NUMBERS))
    if request.node.get_closest_marker("e2e"):
        return base
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        monkeypatch.delenv(name)
    for kind in ("STATE", "CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(base / kind.lower()))
    return base
