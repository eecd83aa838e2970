# SPDX-License-Identifier: Apache-2.0
"""One check of the verification ladder: how it ended, on what evidence, and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

PASSED, FAILED, NOT_APPLICABLE = "passed", "failed", "not applicable"


@dataclass(frozen=True)
class Rung:
    """Say how one check ended, on what evidence, and what to do when it failed."""

    rung: str
    status: str
    evidence: str
    service: str | None = None
    next: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the rung as the run's events carry it."""
        return asdict(self)


def plural(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{count} {one if count == 1 else many or one + 's'}"
