# SPDX-License-Identifier: Apache-2.0
"""The state of a lab, as plain data to show."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Say = Callable[[str], None]


@dataclass(frozen=True)
class HostReport:
    """The state of one host: `action` is created, started or kept (what `up` did), or empty (status)."""

    name: str
    port: int
    state: str
    action: str = ""
    systemd: str = ""
    image: str = ""


@dataclass(frozen=True)
class LabReport:
    """The state of a lab and, after `up`, the time of each step and where releases are from."""

    name: str
    hosts: tuple[HostReport, ...]
    hub: HostReport | None
    ssh: str = ""
    timings: tuple[tuple[str, float], ...] = ()
    releases: tuple[str, ...] = ()

    @property
    def is_up(self) -> bool:
        """Return whether the hub and all hosts are running."""
        machines = (*self.hosts, self.hub)
        return bool(self.hosts) and all(m is not None and m.state == "running" for m in machines)


def described(image: str, origin: str) -> str:
    """Return an image's name with what is behind it, where that is not what the name says."""
    return f"{image} ({origin})" if origin else image


@dataclass
class Stopwatch:
    """Measure steps and announce each one."""

    say: Say
    timings: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure what happens inside the block."""
        begun = time.monotonic()
        yield
        self.timings.append((name, time.monotonic() - begun))
