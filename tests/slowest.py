# SPDX-License-Identifier: Apache-2.0
"""Print where the time of a run went: its ten slowest files, each with its setup and its slowest test."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field

import pytest

SHOWN = 10
# A run that is over sooner needs no table.
WORTH_SECONDS = float(os.environ.get("PYTEST_SLOWEST_FROM", "30"))


@dataclass
class Part:
    """Add up one file's seconds: fixtures apart from tests, and each test by its name."""

    setup: float = 0.0
    tests: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def seconds(self) -> float:
        """Return the seconds of everything in the file."""
        return self.setup + sum(self.tests.values())

    def describe(self) -> str:
        """Return what the seconds were spent on."""
        name, seconds = max(self.tests.items(), key=lambda item: item[1], default=("", 0.0))
        return f"setup {self.setup:.0f} s, slowest {seconds:.0f} s: {name}"


class Slowest:
    """Collect the reports of all processes; xdist hands each one to the process that prints."""

    def __init__(self) -> None:
        self.parts: dict[str, Part] = defaultdict(Part)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add one phase of one test."""
        file, _, test = report.nodeid.partition("::")
        if report.when == "call":
            self.parts[file].tests[test] += report.duration
        else:
            self.parts[file].setup += report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table; pytest's own last line follows it."""
        slowest = sorted(self.parts.items(), key=lambda item: item[1].seconds, reverse=True)[:SHOWN]
        if sum(part.seconds for part in self.parts.values()) < WORTH_SECONDS:
            return
        terminalreporter.section(f"{len(slowest)} slowest parts")
        for file, part in slowest:
            terminalreporter.line(f"{part.seconds:7.1f} s  {file} ({part.describe()})")


def pytest_configure(config: pytest.Config) -> None:
    """Collect where the tests are reported; a process of xdist's only runs them."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Slowest(), "slowest")
