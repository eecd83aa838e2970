# SPDX-License-Identifier: Apache-2.0
"""Declare the `provision` key of a module's result, once for hosts and for the controller.

Modules fill it, the callback lets exactly these fields out of Ansible, and `provisioner.runs` reads them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

PASSED, FAILED, NOT_APPLICABLE = "passed", "failed", "not applicable"


@dataclass(frozen=True)
class Transfer:
    """Hold the progress of a long step; an unknown size is None."""

    label: str = ""
    done_bytes: float | None = None
    total_bytes: float | None = None
    rate_bytes_s: float | None = None


@dataclass(frozen=True)
class Rung:
    """Hold how one check of the verification ladder ended, its evidence, and what to do about a failure."""

    rung: str
    status: str
    evidence: str = ""
    service: str | None = None
    next: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the rung as a module returns it."""
        return asdict(self)


@dataclass(frozen=True)
class Answer:
    """Hold the answer of a served model to a question, and how fast it was."""

    service: str
    question: str
    text: str
    ttft_s: float | None = None
    tokens: int | None = None
    tokens_per_s: float | None = None


@dataclass(frozen=True)
class DriverSeen:
    """Hold the versions of the GPU driver that is installed and of the one that is loaded."""

    installed: str | None = None
    loaded: str | None = None


@dataclass(frozen=True)
class Replaced:
    """Hold the files that a unit's processes execute and that an update has replaced on disk."""

    unit: str
    libraries: tuple[str, ...] = ()

    @property
    def says(self) -> str:
        """Return the finding in one line, with at most three files."""
        names = sorted({path.rpartition("/")[2] for path in self.libraries})
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
        return f"{self.unit} still runs with files that an update has replaced: {shown}"


@dataclass(frozen=True)
class Payload:
    """Hold everything that a module may report to the run."""

    progress: Transfer | None = None
    rungs: tuple[Rung, ...] = ()
    answer: Answer | None = None
    consent: tuple[str, ...] = ()
    warning: tuple[str, ...] = ()
    next: str | None = None
    # What a program printed before it failed, for the log; the message has the one line that counts.
    detail: str | None = None
    skipped: str | None = None
    driver: DriverSeen | None = None
    replaced: tuple[Replaced, ...] = ()


def plural(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{count} {one if count == 1 else many or one + 's'}"
