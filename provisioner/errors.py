# SPDX-License-Identifier: Apache-2.0
"""Every failure that the tool expects, with the exit code each one means.

::

    ProvisionError            1   something on a host or this machine went wrong
    ├── UsageError            2   the command line requests something impossible
    │   └── ConsentRequired   2   work would interrupt, remove or reboot; no one agreed to it
    ├── InventoryError        2   the inventory cannot be read, or is not valid
    ├── BusyError             1   another run works on the same inventory
    ├── HostError             1   a host cannot be reached, or a command failed on it
    ├── LabError              1   the throwaway hosts could not be created or reached
    └── Interrupted           130 the user pressed Ctrl-C

Anything else that reaches the command line is a bug in this tool: exit code 3 and a log file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Describe one mistake in an inventory: where it was set and how to fix it."""

    variable: str
    reason: str
    hosts: tuple[str, ...] = ()
    value: object = None
    has_value: bool = False
    origin: str = ""
    hint: str = ""


class ProvisionError(Exception):
    """Report a failure in one sentence, with the next step for the reader."""

    exit_code = 1

    def __init__(self, message: str, next_step: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step


class UsageError(ProvisionError):
    """Report a command line that is not valid."""

    exit_code = 2


class ConsentRequired(UsageError):
    """List the interrupting work that no one has agreed to."""

    def __init__(self, needs: Sequence[str]) -> None:
        super().__init__("consent is required to continue", "run it again with --yes to agree to all of it")
        self.needs = tuple(needs)


class InventoryError(ProvisionError):
    """Report every problem of an inventory at once."""

    exit_code = 2

    def __init__(self, message: str, problems: Sequence[Problem] = (), next_step: str | None = None) -> None:
        super().__init__(message, next_step)
        self.problems = tuple(problems)


class BusyError(ProvisionError):
    """Report the run that holds the inventory."""


class HostError(ProvisionError):
    """Report why one host could not be worked on."""


class LabError(ProvisionError):
    """Report throwaway hosts that could not be created, reached or removed."""


class Interrupted(ProvisionError):
    """Report that the user stopped the run."""

    exit_code = 130
