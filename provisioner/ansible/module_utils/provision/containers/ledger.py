# SPDX-License-Identifier: Apache-2.0
"""Note what a run changes on a host, and what a removal must undo."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterable

from ..host.files import keep_json, read_json

LEDGER = Path("/var/lib/provision/container_runtime.json")


class Ledger:
    """The changes of one run, and those of all runs that must be undone; a dry run only lists its changes."""

    def __init__(self, *, dry: bool) -> None:
        self.dry = dry
        self.entries: dict[str, Any] = dict(read_json(LEDGER, {}))
        self.changes: list[str] = []
        self.diff: list[dict[str, str]] = []

    def plan(self, change: str, before: str = "", after: str = "") -> bool:
        """Note a change, and return whether to make it."""
        self.changes.append(change)
        if before or after:
            one = {"before_header": change, "after_header": change, "before": before, "after": after}
            self.diff.append(one)
        return not self.dry

    def keep(self, **entries: Any) -> None:
        """Set what must be undone; it is on disk before anything changes."""
        self.entries.update(entries)
        self.save()

    def add(self, key: str, names: Iterable[str]) -> None:
        """Add to a list of what must be undone."""
        self.keep(**{key: sorted({*self.entries.get(key, []), *names})})

    def save(self) -> None:
        """Write what must be undone."""
        keep_json(LEDGER, self.entries, 0o600)


def lines(words: Iterable[str]) -> str:
    """Return lines as a difference shows them."""
    return "".join(f"{word}\n" for word in words)
