# SPDX-License-Identifier: Apache-2.0
"""Count the results of one host, phase by phase, and track how far it is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from provisioner.ansible.module_utils.provision.host.payload import Transfer
from provisioner.runs import report as r
from provisioner.runs.events import Counts, Progress, Result, TaskStart
from provisioner.unreachable import explain, hint

RUNNING, WAITING = "running", "waiting"
SHIPPED = re.compile(r"^.*/(?=(?:roles|playbooks)/)")
HIDDEN = "the details are hidden because the task may show secrets"


@dataclass(frozen=True)
class Now:
    """What a host is doing now."""

    task: str
    since: float
    transfer: Transfer | None = None
    attempt: int | None = None
    attempts: int | None = None


@dataclass
class Course:
    """Where the whole run is: all phases, the current one, those that have started, whether it has ended."""

    phases: list[str]
    phase: str = ""
    complete: bool = False
    begun: set[str] = field(default_factory=set)

    def before(self, phase: str, other: str) -> bool:
        """Return whether one phase comes before another."""
        return self.phases.index(phase) < self.phases.index(other)


@dataclass
class PhaseTally:
    """Count the results of a host in one phase."""

    started: bool = False
    results: dict[str, int] = field(default_factory=dict)


@dataclass
class HostTally:
    """Count the results of a host; `failed` holds the failures of each failed task."""

    phases: dict[str, PhaseTally] = field(default_factory=dict)
    items: list[r.Failure] = field(default_factory=list)
    failed: list[tuple[r.Failure, ...]] = field(default_factory=list)
    rescued: int = 0
    counts: Counts = field(default_factory=Counts)
    now: Now | None = None
    left_out: str = ""

    @property
    def failures(self) -> tuple[r.Failure, ...]:
        """Return the failures that no rescue section has handled; the rescued ones are always the first."""
        return tuple(failure for group in self.failed[self.rescued :] for failure in group)

    def begin(self, event: TaskStart) -> None:
        """Add the start of a task; one in a later phase shows that a failure was rescued."""
        if any(failure.phase != event.phase for failure in self.failures):
            self.rescued = len(self.failed)
        self.phases.setdefault(event.phase, PhaseTally()).started = True
        self.items.clear()
        self.now = Now(event.task, event.t)

    def advance(self, event: Progress) -> None:
        """Add how far a task is."""
        now = self.now or Now(event.task, event.t)
        transfer = event.provision.progress or now.transfer
        self.now = replace(now, transfer=transfer, attempt=event.attempt, attempts=event.attempts)

    def end(self, event: Result) -> None:
        """Add the result of a task, or of one item of its loop."""
        bad = event.status in (r.FAILED, r.UNREACHABLE)
        self.left_out = event.provision.skipped or self.left_out
        if event.item is not None:
            self.items += [failure_of(event)] if bad and not event.ignored else []
            return
        if bad and not event.ignored:
            self.failed.append(tuple(self.items) or (failure_of(event),))
        status = r.OK if event.ignored else event.status
        results = self.phases.setdefault(event.phase, PhaseTally()).results
        results[status] = results.get(status, 0) + 1
        self.items.clear()
        self.now = None

    def close(self, counts: Counts) -> None:
        """Add Ansible's own counts at the end of the run."""
        self.counts, self.rescued, self.now = counts, counts.rescued, None

    def cell(self, phase: str, course: Course) -> r.Cell:
        """Return how far a phase is on this host."""
        tally = self.phases.get(phase, PhaseTally())
        changed, tasks = tally.results.get(r.CHANGED, 0), sum(tally.results.values())
        left_out = self.left_out and not self.failures
        return r.Cell(phase, r.SKIPPED if left_out else self._outcome(phase, tally, course), changed, tasks)

    def _outcome(self, phase: str, tally: PhaseTally, course: Course) -> str:
        failures = self.failures
        kinds = {failure.kind for failure in failures if failure.phase == phase}
        if kinds:
            return r.UNREACHABLE if r.UNREACHABLE in kinds else r.FAILED
        if tally.started and phase == course.phase and not course.complete and not failures:
            return RUNNING
        if tally.results:
            return next((name for name in (r.CHANGED, r.OK) if tally.results.get(name)), r.SKIPPED)
        # No result: distinguish what comes later, what had nothing to do, and what is never reached.
        if failures:
            return r.SKIPPED if course.before(phase, failures[0].phase) else r.NOT_REACHED
        if course.complete:
            return r.SKIPPED if self.phases and phase in course.begun else r.NOT_REACHED
        over = bool(course.phase) and course.before(phase, course.phase)
        return r.SKIPPED if over and self.phases else WAITING


def failure_of(event: Result) -> r.Failure:
    """Return the failure in a result, with the module's next step or one for its message."""
    message, step = event.msg.strip(), event.provision.next
    if event.status == r.UNREACHABLE:
        message, advice = explain(message, event.host)
        step = step or advice
    return r.Failure(
        host=event.host,
        phase=event.phase,
        task=event.task,
        where=shipped(event.path),
        message=message or HIDDEN,
        next=step or hint(event.msg),
        kind=event.status,
        item=event.item,
        consent=event.provision.consent,
    )


def shipped(path: str) -> str:
    """Return the part of a path and line below the folder that holds roles and playbooks."""
    return SHIPPED.sub("", path)
