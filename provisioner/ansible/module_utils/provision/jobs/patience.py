# SPDX-License-Identifier: Apache-2.0
"""Wait after a transient failure, longer each time, and give up at last."""

from __future__ import annotations

import time

from ..host.fault import Fault
from ..host.follow import note
from ..host.outward import trouble

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
# A server that asks for a longer wait is given up.
LONGEST_WAIT = 600.0


class Patience:
    """Count the attempts in a row without progress at `what`, and wait longer after each."""

    def __init__(self, what: object, attempts: int) -> None:
        self.what = what
        self.attempts = attempts
        self.in_a_row = 0

    def wait(self, reason: object, *, progressed: bool = False, asked: float = 0.0) -> None:
        """Wait before the next attempt; raises Fault where there must not be one."""
        self.in_a_row = 1 if progressed else self.in_a_row + 1
        if self.in_a_row >= self.attempts or asked > LONGEST_WAIT:
            known = trouble(str(reason))
            step = (
                f"{known.says}: {known.step}"
                if known
                else "check that this host reaches it (proxy, firewall)"
            )
            wish = f"; the server asks for a wait of {asked:.0f} s" if asked > LONGEST_WAIT else ""
            raise Fault(
                f"{self.what} failed {self.in_a_row} times in a row, the last time with: {reason}{wish}",
                f"{step}, then apply again: what has arrived is kept and only the rest is downloaded",
            )
        pause = max(asked, min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (self.in_a_row - 1)))
        note(f"{self.what}: {reason}; again in {pause:.0f} s")
        time.sleep(pause)
