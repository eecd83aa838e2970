# SPDX-License-Identifier: Apache-2.0
"""Fold events into the state of a run: for the live screen at any time, for the report at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from provisioner.ansible.module_utils.provision.host.payload import Transfer
from provisioner.runs import events as e
from provisioner.runs import report as r
from provisioner.runs.failures import failure_of, shipped
from provisioner.runs.shared import Shared

RUNNING, WAITING = "running", "waiting"
SLOWEST = 5


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
    counts: e.Counts = field(default_factory=e.Counts)
    now: Now | None = None
    left_out: str = ""

    @property
    def failures(self) -> tuple[r.Failure, ...]:
        """Return the failures that no rescue section has handled; the rescued ones are always the first."""
        return tuple(failure for group in self.failed[self.rescued :] for failure in group)

    def begin(self, event: e.TaskStart) -> None:
        """Add the start of a task; one in a later phase shows that a failure was rescued."""
        if any(failure.phase != event.phase for failure in self.failures):
            self.rescued = len(self.failed)
        self.phases.setdefault(event.phase, PhaseTally()).started = True
        self.items.clear()
        self.now = Now(event.task, event.t)

    def advance(self, event: e.Progress) -> None:
        """Add how far a task is."""
        now = self.now or Now(event.task, event.t)
        transfer = event.provision.progress or now.transfer
        self.now = replace(now, transfer=transfer, attempt=event.attempt, attempts=event.attempts)

    def end(self, event: e.Result) -> None:
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

    def close(self, counts: e.Counts) -> None:
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


class Fold:
    """Collect events with `add`; `cell`, `now`, `trouble` and `report` return the state."""

    def __init__(self, hosts: Iterable[str] = (), phases: Iterable[str] = ()) -> None:
        # Held while something changes; a screen holds it while it draws, in its own thread.
        self.lock = threading.Lock()
        self._hosts = {name: HostTally() for name in hosts}
        self._course = Course(list(phases))
        self._check = False
        self._begun: float | None = None
        self._last: float | None = None
        self._phase_since: float | None = None
        self._times: dict[str, float] = {}
        self._slowest: dict[tuple[str, str], r.TaskTime] = {}
        self._changes: list[r.Change] = []
        self._rungs: dict[tuple[str, str | None, str], r.Rung] = {}
        self._answers: dict[tuple[str, str], r.Answer] = {}
        self._warnings: dict[r.Warned, None] = {}
        self._drivers: dict[str, r.Driver] = {}
        self._replaced: dict[tuple[str, str], r.Replaced] = {}
        self._shared = Shared()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the names of all hosts, planned ones first."""
        return tuple(self._hosts)

    @property
    def phases(self) -> tuple[str, ...]:
        """Return the names of all phases in order."""
        return tuple(self._course.phases)

    @property
    def phase(self) -> str:
        """Return the phase that runs now, or an empty text."""
        return self._course.phase

    @property
    def span(self) -> tuple[float, float]:
        """Return when the first and the latest event happened."""
        return self._begun or 0.0, self._last or 0.0

    def now(self, host: str) -> Now | None:
        """Return what the host is busy with, or None."""
        return self._hosts[host].now

    def trouble(self, host: str) -> r.Failure | None:
        """Return what stopped the host, or None."""
        return next(iter(self._hosts[host].failures), None)

    def left_out(self, host: str) -> str:
        """Return why the inventory leaves the host out, or an empty text."""
        return self._hosts[host].left_out

    def cell(self, host: str, phase: str) -> r.Cell:
        """Return how far a phase is on a host: an outcome of a report, or running, or waiting."""
        return self._hosts[host].cell(phase, self._course)

    def add(self, event: e.Event) -> e.Event:
        """Add one event, and return it as it counts; a kind that the report does not use is ignored."""
        with self.lock:
            return self._add(self._shared.counted(event) if self._check else event)

    def _add(self, event: e.Event) -> e.Event:
        self._begun = event.t if self._begun is None else self._begun
        self._last = event.t
        if isinstance(event, e.RunStart):
            self._check = event.check
        elif isinstance(event, e.PhaseStart):
            self._start_phase(event)
        elif isinstance(event, e.TaskStart):
            self._host(event.host).begin(event)
        elif isinstance(event, e.Progress):
            self._host(event.host).advance(event)
        elif isinstance(event, e.Result):
            self._record(event)
            self._host(event.host).end(event)
        elif isinstance(event, e.RunEnd):
            self._end(event)
        return event

    def report(self, run: str | None = None, log: str | None = None) -> r.Report:
        """Return the report of all events so far."""
        tallies = self._hosts.values()
        return r.Report(
            started=self._begun,
            finished=self._last,
            complete=self._course.complete,
            phases=self.phases,
            hosts=tuple(self._host_report(name) for name in self._hosts),
            failures=tuple(failure for tally in tallies for failure in (*tally.failures, *tally.items)),
            changes=tuple(self._changes),
            rungs=tuple(sorted(self._rungs.values(), key=self._rung_order)),
            answers=tuple(self._answers.values()),
            warnings=(*self._warnings, *(one.warned() for one in self._replaced.values() if one.libraries)),
            drivers=tuple(self._drivers.values()),
            replaced=tuple(self._replaced.values()),
            phase_times=tuple(r.PhaseTime(name, round(spent, 3)) for name, spent in self._clocked().items()),
            slowest=tuple(sorted(self._slowest.values(), key=lambda time: -time.seconds)[:SLOWEST]),
            check=self._check,
            run=run,
            log=log,
        )

    def _host(self, name: str) -> HostTally:
        return self._hosts.setdefault(name, HostTally())

    def _start_phase(self, event: e.PhaseStart) -> None:
        self._times = self._clocked()
        self._course.phase, self._phase_since = event.phase, event.t
        self._course.begun.add(event.phase)
        if event.phase not in self._course.phases:
            self._course.phases.append(event.phase)
        for name in event.hosts:
            self._host(name).now = None

    def _end(self, event: e.RunEnd) -> None:
        self._times = self._clocked()
        self._course.complete, self._phase_since = True, None
        for name, counts in event.stats.items():
            self._host(name).close(counts)

    def _record(self, event: e.Result) -> None:
        payload = event.provision
        for rung in payload.rungs:
            self._rungs[event.host, rung.service, rung.rung] = r.Rung(host=event.host, **vars(rung))
        if answer := payload.answer:
            self._answers[event.host, answer.service] = r.Answer(host=event.host, **vars(answer))
        if payload.driver:
            self._drivers[event.host] = r.Driver(event.host, payload.driver.installed)
        for seen in payload.replaced:
            self._replaced[event.host, seen.unit] = r.Replaced(host=event.host, **vars(seen))
        for text in payload.warning:
            self._warnings[r.Warned(event.host, text)] = None
        if event.item is not None:
            return
        if event.status == r.CHANGED:
            self._changes.append(r.Change(event.host, event.phase, event.task, shipped(event.path)))
        spent = r.TaskTime(event.phase, event.task, event.host, event.duration_s)
        known = self._slowest.setdefault((event.phase, event.task), spent)
        if known.seconds < spent.seconds:
            self._slowest[event.phase, event.task] = spent

    def _host_report(self, name: str) -> r.HostReport:
        final = {RUNNING: r.INTERRUPTED, WAITING: r.NOT_REACHED}
        cells = (self.cell(name, phase) for phase in self.phases)
        settled = tuple(replace(cell, outcome=final.get(cell.outcome, cell.outcome)) for cell in cells)
        return r.HostReport(name, settled, self._hosts[name].counts, self.left_out(name))

    def _clocked(self) -> dict[str, float]:
        if self._phase_since is None or self._last is None:
            return self._times
        spent = self._times.get(self.phase, 0.0) + self._last - self._phase_since
        return {**self._times, self.phase: spent}

    def _rung_order(self, rung: r.Rung) -> tuple[int, str, int]:
        place = r.RUNGS.index(rung.rung) if rung.rung in r.RUNGS else len(r.RUNGS)
        return self.hosts.index(rung.host), rung.service or "", place


def fold(
    events: Iterable[e.Event],
    hosts: Iterable[str] = (),
    phases: Iterable[str] = (),
    run: str | None = None,
    log: str | None = None,
) -> r.Report:
    """Return the report of a whole run."""
    folding = Fold(hosts, phases)
    for event in events:
        folding.add(event)
    return folding.report(run, log)
