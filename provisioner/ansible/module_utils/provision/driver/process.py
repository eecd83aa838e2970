# SPDX-License-Identifier: Apache-2.0
"""Run the programs of a driver's job, keep their last words, and say what a failure means."""

from __future__ import annotations

import os
import re

from ..host.fault import Fault
from ..jobs import command
from ..jobs.command import note

READ_ON = "read 'journalctl -u provision-job-driver' on the host, then apply again"
ROTATED = (
    "the repository is signed with another key than the pinned one: see whether NVIDIA has announced a new "
    "key, then give its fingerprint in nvidia_driver_repository_keys"
)
NO_STREAM = (
    "the module stream of this branch hides the packages: see `dnf module list nvidia-driver`, and choose a "
    "branch that it lists in nvidia_driver_version"
)
CAUSES = (
    (r"NO_PUBKEY|EXPKEYSIG|KEYEXPIRED|BADSIG|Public key for .* is not installed|GPG check FAILED", ROTATED),
    (r"GPG signature verification error|is not signed", ROTATED),
    (r"filtered out by modular filtering|excluded by modular", NO_STREAM),
    (r"No space left on device|not enough (free )?space|more space needed", "free space, then apply again"),
    (r"not valid yet|is not yet valid", "the host's clock is behind: set it, then apply again"),
    (
        r"Could not resolve|Temporary failure|Connection (refused|timed out)|Curl error|Failed to fetch",
        "open the way to the repository, or set nvidia_driver_repository to a mirror",
    ),
    (
        r"unmet dependencies|held broken packages|nothing provides|conflicting requests|Problem: ",
        "another package holds these at another version: read what the package manager says above",
    ),
)


def run(argv: list[str], what: str, *, environment: dict[str, str] | None = None) -> str:
    """Run a program to its end and return what it said; raises Fault that begins with `what`."""
    code, said = attempt(argv, environment=environment)
    if code:
        raise Fault(f"{what} failed (exit {code}):\n{said}", advice(said))
    return said


def attempt(argv: list[str], *, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a program to its end, and return its exit status and the end of what it said."""
    note(f"+ {' '.join(argv)}")
    done = command.run(argv, {**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})})
    return done.code, done.tail


def advice(said: str) -> str:
    """Return what to do about a failure, by what the program said."""
    return next((step for pattern, step in CAUSES if re.search(pattern, said)), READ_ON)
