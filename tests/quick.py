# SPDX-License-Identifier: Apache-2.0
"""Keep the quick tests quick: none starts Ansible, and inventories are read in the process of the tests."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from provisioner.fleet import inventory
from tests.listing import listing

TESTS = Path(__file__).parent
QUICK = (TESTS / "unit", TESTS / "contract")
# Modules of Python and programs that start Ansible, or are Ansible.
SLOW_MODULES = ("ansible", "provisioner")
SLOW_PROGRAMS = ("ansible", "provision")

_running: list[str] = []


def _refuse(event: str, given: tuple[object, ...]) -> None:
    if event != "subprocess.Popen" or not _running:
        return
    argv = given[1]
    words = [str(word) for word in argv] if isinstance(argv, list | tuple) else [str(argv)]
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    program = Path(words[0]).name.partition("-")[0]
    if module in SLOW_MODULES or program in SLOW_PROGRAMS:
        pytest.fail(f"{_running[0]} starts {' '.join(words[:4])}: tests that do belong in tests/ansible")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Refuse the start of Ansible to a quick test, and to its fixtures."""
    _running[:] = [item.nodeid] if _is_quick(item.path) else []
    ended = yield
    _running.clear()
    return ended


@pytest.fixture(autouse=True)
def _quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a quick test read inventories without Ansible's own process."""
    if _is_quick(request.path):
        monkeypatch.setattr(inventory, "_list", listing)


def _is_quick(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in QUICK)


def pytest_configure() -> None:
    """Have this process ask before it starts another."""
    sys.addaudithook(_refuse)
