# SPDX-License-Identifier: Apache-2.0
"""Share the tests out to several processes so that what shares a lab, or a file's fixtures, stays in one."""

from __future__ import annotations

import os

import pytest
from xdist.scheduler import LoadScopeScheduling

LABS = "tests/e2e/"
# It takes longest of all that needs no lab.
FIRST = "tests/lint/"
# The labs that start after all else, the longest first, so that all processes end together.
ORDER = (
    "tests/e2e/vllm/",
    "tests/e2e/ollama/",
    "tests/e2e/gpu/",
    "tests/e2e/test_molecule.py::test_the_whole_site",
    "tests/e2e/host/",
    "tests/e2e/test_pythons.py",
    "tests/e2e/test_molecule.py",
)
# One more process than processors: tests of labs wait for hosts about a quarter of their time.
MORE = 1
# Each of its hosts has a lab of its own, and every test is about one of them.
GPU = "tests/e2e/gpu/"
# A scenario of Molecule has a lab of its own, whichever test plays it.
MOLECULE = "tests/e2e/test_molecule.py"


class ByLab(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """Give a process one lab's tests, or one file's, at a time."""

    def _split_scope(self, nodeid: str) -> str:
        """Return what a test shares with others, by its name."""
        file, _, test = nodeid.partition("::")
        if file == MOLECULE:
            return f"{file}::{'gpu' if 'simulated_gpus' in test else 'engine'}"
        if file.startswith(GPU):
            return GPU + test.partition("[")[2]
        return file.rpartition("/")[0] if file.startswith(LABS) else file


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the labs in order; all else stays before them, as it was."""
    items.sort(key=lambda item: rank(item.nodeid))


def rank(nodeid: str) -> int:
    """Return the place of a test's lab in the order, 0 for a test that needs none, and less for the first."""
    if nodeid.startswith(FIRST):
        return -1
    return next((number for number, lab in enumerate(ORDER, 1) if nodeid.startswith(lab)), 0)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `--numprocesses=auto` means."""
    return len(os.sched_getaffinity(0)) + MORE


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByLab:
    """Have xdist share the tests out so."""
    return ByLab(config, log)
