# SPDX-License-Identifier: Apache-2.0
"""Decide how long to wait after a transient failure, and when to give up."""

from __future__ import annotations

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
# A server that asks for a longer wait is given up.
LONGEST_WAIT = 600.0


class Patience:
    """Count consecutive attempts without progress, and wait longer after each."""

    def __init__(self, attempts: int) -> None:
        self.attempts = attempts
        self.in_a_row = 0

    def pause(self, *, progressed: bool, asked: float = 0.0) -> float | None:
        """Return the seconds to wait before the next attempt, or None if there must not be one."""
        self.in_a_row = 1 if progressed else self.in_a_row + 1
        if self.in_a_row >= self.attempts or asked > LONGEST_WAIT:
            return None
        return max(asked, min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (self.in_a_row - 1)))
