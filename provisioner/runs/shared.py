# SPDX-License-Identifier: Apache-2.0
"""Count once, in check mode, what several services of a host share."""

from __future__ import annotations

from dataclasses import replace

from provisioner.runs import report as r
from provisioner.runs.events import Event, Result


class Shared:
    """Know what a dry run would already have changed; a real one finds it changed the second time."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, int]] = set()

    def counted(self, event: Event) -> Event:
        """Return the event as it counts: the same difference on the same host is not a second change."""
        if not isinstance(event, Result) or event.status != r.CHANGED or event.item is not None:
            return event
        key = (event.host, hash(event.diff))
        if not event.diff or key not in self._seen:
            self._seen.add(key)
            return event
        return replace(event, status=r.OK, diff="")
