# SPDX-License-Identifier: Apache-2.0
"""Share the tests out to several processes so that what shares a lab, or a file's fixtures, stays in one."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

LABS = "tests/e2e/"
# A scenario of Molecule has a lab of its own, whichever file plays it.
MOLECULE = "tests/e2e/test_molecule.py"


class ByLab(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """Give a process one lab's tests, or one file's, at a time."""

    def _split_scope(self, nodeid: str) -> str:
        """Return what a test shares with others, by its name."""
        file, _, test = nodeid.partition("::")
        if file == MOLECULE:
            return test.partition("[")[0]
        return file.rpartition("/")[0] if file.startswith(LABS) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByLab:
    """Have xdist share the tests out so."""
    return ByLab(config, log)
