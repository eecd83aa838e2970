# SPDX-License-Identifier: Apache-2.0
"""Every failure that the tool expects, with the exit code each one means.

::

    ProvisionError            1   something on a host or this machine went wrong
    ├── UsageError            2   the command line asks for something impossible
    │   └── ConsentRequired   2   work would interrupt, remove or reboot; nobody agreed to it
    ├── InventoryError        2   the inventory cannot be read, or says something wrong
    ├── BusyError             1   another run works on the same inventory
    ├── HostError             1   a host cannot be reached, or does not do what it was asked
    ├── LabError              1   the throwaway hosts could not be made or reached
    └── Interrupted           130 the user pressed Ctrl-C

Anything else that reaches the command line is a bug of ours: exit code 3 and a log file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Name one thing that is wrong with an inventory, where it was set and how to mend it."""

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
    """Report a command line that cannot be carried out."""

    exit_code = 2


class ConsentRequired(UsageError):
    """Name the interrupting work that nobody has agreed to."""

    def __init__(self, needs: Sequence[str]) -> None:
        super().__init__("consent is needed to go on", "run it again with --yes to agree to all of it")
        self.needs = tuple(needs)


class InventoryError(ProvisionError):
    """Carry every problem of an inventory at once."""

    exit_code = 2

    def __init__(self, message: str, problems: Sequence[Problem] = (), next_step: str | None = None) -> None:
        super().__init__(message, next_step)
        self.problems = tuple(problems)


class BusyError(ProvisionError):
    """Name the run that holds the inventory."""


class HostError(ProvisionError):
    """Say of one host why it could not be worked with."""


class LabError(ProvisionError):
    """Report throwaway hosts that could not be made, reached or removed."""


class Interrupted(ProvisionError):
    """Report that the user stopped the run."""

    exit_code = 130
