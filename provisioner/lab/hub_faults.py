# SPDX-License-Identifier: Apache-2.0
"""The fault rules and counters of the stand-in hub, shared by all its connections."""

from __future__ import annotations

import fnmatch
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

# Faults of the bytes of a file; `token` is checked before.
KINDS = ("cut", "truncate", "wrong", "stall", "slow", "status")


@dataclass
class Control:
    """Fault rules and counters."""

    rules: list[dict[str, Any]] = field(default_factory=list)
    stats: dict[str, Counter[str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, key: str, what: str, amount: int = 1) -> None:
        """Add to a counter of one path."""
        with self.lock:
            self.stats.setdefault(key, Counter())[what] += amount

    def take(self, key: str, method: str, *kinds: str) -> dict[str, Any] | None:
        """Return the first rule that applies now and use up one of its counts."""
        with self.lock:
            for rule in self.rules:
                wanted = rule.get("method", "*" if rule["kind"] == "token" else "GET")
                applies = rule["kind"] in kinds and wanted in ("*", method) and rule.get("count", 1) > 0
                if applies and fnmatch.fnmatchcase(key, rule.get("path", "*")):
                    if "count" in rule:
                        rule["count"] -= 1
                    return dict(rule)
        return None
