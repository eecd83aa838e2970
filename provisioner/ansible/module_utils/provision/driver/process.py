# SPDX-License-Identifier: Apache-2.0
"""Run the programs of a driver's job that are not the package manager."""

from __future__ import annotations

from ..host import follow
from ..host.fault import Fault
from ..host.follow import note
from ..host.packages.advice import advice
from .transaction import USER


def run(argv: list[str], what: str) -> None:
    """Run a program to its end; a failure is reported as one of `what`."""
    code, said = attempt(argv)
    if code:
        raise Fault(f"{what} failed (exit {code}):\n{said}", advice(said, USER.unit))


def attempt(argv: list[str]) -> tuple[int, str]:
    """Run a program to its end, and return its exit status and its last lines."""
    note(f"+ {' '.join(argv)}")
    done = follow.run(argv, follow.environment())
    return done.code, done.tail
