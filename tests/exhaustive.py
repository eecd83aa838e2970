# SPDX-License-Identifier: Apache-2.0
"""Leave long matrices out of an ordinary run and say how many tests that were; `--exhaustive` runs all."""

from __future__ import annotations

import pytest

MARKER = "exhaustive"
# How the processes of xdist report to the one that prints.
LEFT_OUT = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option; `scripts/test` passes it on."""
    parser.addoption(
        "--exhaustive",
        action="store_true",
        help="also run the long matrices: every platform, every source, every version",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that only an exhaustive run has."""
    if config.getoption("--exhaustive"):
        return
    left_out = [item for item in items if item.get_closest_marker(MARKER)]
    items[:] = [item for item in items if not item.get_closest_marker(MARKER)]
    config.hook.pytest_deselected(items=left_out)
    config.stash[LEFT_OUT] = len(left_out)
    if hasattr(config, "workeroutput"):
        config.workeroutput[MARKER] = len(left_out)


class Counts:
    """Learn from xdist's processes how many tests they left out; each of them collects all tests."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Note what a process of xdist's reports at its end."""
        self.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get(MARKER, 0)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was left out, and how to run it."""
        if count := self.config.stash.get(LEFT_OUT, 0):
            terminalreporter.line(f"tests left out of long matrices: {count} (--exhaustive runs them)")


def pytest_configure(config: pytest.Config) -> None:
    """Count where the result is printed."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Counts(config), "exhaustive-counts")
