# SPDX-License-Identifier: Apache-2.0
"""Choose which runs are kept: one that changed hosts outlives any number of those that only looked.

Kept are the newest 50 runs that only looked (verify, apply --check) for 90 days, and the newest 200 others
for two years. If all of them together exceed 1 GiB, the oldest go, those that only looked first. These always
stay: the last run of each host of an inventory that still exists, the last one that may have changed it and
the last one that saw its driver; and for a week one without a report, which may still be running.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioner.runs import rundir
from provisioner.runs.rundir import RunDir

DAY_S = 24 * 3600
UNFINISHED_S = 7 * DAY_S


@dataclass(frozen=True)
class Limits:
    """Hold how many runs of each kind are kept, for how many days, and their size together."""

    looks: int = 50
    look_days: float = 90
    changes: int = 200
    change_days: float = 730
    total_bytes: int = 1 << 30


@dataclass(frozen=True)
class Past:
    """Describe an earlier run; `proves` holds what it is evidence of."""

    run: RunDir
    only_looked: bool
    may_run: bool
    proves: frozenset[tuple[str, str, str]]

    @property
    def days(self) -> float:
        """Return how long ago it began."""
        return _age(self.run) / DAY_S

    @property
    def size(self) -> int:
        """Return the size of its files."""
        try:
            return sum(path.stat().st_size for path in self.run.path.iterdir())
        except OSError:  # another run has just removed it
            return 0


def prune(limits: Limits | None = None) -> tuple[str, ...]:
    """Remove the runs that are not kept; return their names."""
    limits = limits or Limits()
    past = [_read(run) for run in rundir.runs()]
    stay = set(_always(past))
    removable = [one for one in past if one not in stay]
    surplus = set(_surplus([one for one in past if one.only_looked], limits.looks, limits.look_days))
    surplus |= set(_surplus([one for one in past if not one.only_looked], limits.changes, limits.change_days))
    gone = [one for one in removable if one in surplus]
    total = sum(one.size for one in past if one not in gone)
    for one in sorted(set(removable) - set(gone), key=lambda one: (not one.only_looked, one.run.id)):
        if total > limits.total_bytes:
            total -= one.size
            gone.append(one)
    for one in gone:
        shutil.rmtree(one.run.path, ignore_errors=True)
    return tuple(sorted(one.run.id for one in gone))


def _surplus(past: Sequence[Past], most: int, days: float) -> Iterator[Past]:
    """Yield the runs of one kind that are too many or too old."""
    yield from (one for number, one in enumerate(past) if number >= most or one.days > days)


def _always(past: Sequence[Past]) -> Iterator[Past]:
    """Yield the runs that stay: those that may still run, and the newest evidence of each thing."""
    seen: set[tuple[str, str, str]] = set()
    for one in past:
        if one.may_run or one.proves - seen:
            yield one
        seen |= one.proves


def _read(run: RunDir) -> Past:
    try:
        source = str(json.loads(run.plan.read_text())["inventory"])
        report = json.loads(run.report.read_text())
        only_looked = bool(report["check"]) or report["phases"] == ["Verify"]
        proves = frozenset(_proofs(source, report, only_looked=only_looked))
    except (OSError, ValueError, KeyError, TypeError):
        may_run = not run.report.exists() and _age(run) < UNFINISHED_S
        return Past(run, only_looked=False, may_run=may_run, proves=frozenset())
    return Past(run, only_looked, may_run=False, proves=proves)


def _proofs(source: str, report: dict[str, Any], *, only_looked: bool) -> Iterator[tuple[str, str, str]]:
    """Yield what a run is evidence of, if its inventory still exists."""
    inventory = Path(source).resolve()
    if "," not in source and not inventory.exists():
        return
    for host in report["hosts"]:
        yield str(inventory), host["name"], "run"
        if not only_looked:
            yield str(inventory), host["name"], "change"
    for driver in report["drivers"]:
        yield str(inventory), driver["host"], "driver"


def _age(run: RunDir) -> float:
    return time.time() - run.started.timestamp()
