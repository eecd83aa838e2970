# SPDX-License-Identifier: Apache-2.0
"""Fold events into the state of a run: for the live screen at any time, for the report at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace

from provisioner.runs import report as r
from provisioner.runs.events import Event, PhaseStart, Progress, Result, RunEnd, RunStart, TaskStart
from provisioner.runs.tally import RUNNING, WAITING, Course, HostTally, Now, shipped

SLOWEST = 5


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

    def add(self, event: Event) -> None:
        """Add one event; a kind that the report does not use is ignored."""
        with self.lock:
            self._add(event)

    def _add(self, event: Event) -> None:
        self._begun = event.t if self._begun is None else self._begun
        self._last = event.t
        if isinstance(event, RunStart):
            self._check = event.check
        elif isinstance(event, PhaseStart):
            self._start_phase(event)
        elif isinstance(event, TaskStart):
            self._host(event.host).begin(event)
        elif isinstance(event, Progress):
            self._host(event.host).advance(event)
        elif isinstance(event, Result):
            self._record(event)
            self._host(event.host).end(event)
        elif isinstance(event, RunEnd):
            self._end(event)

    def report(self, run: str | None = None, log: str | None = None) -> r.Report:
        """Return the report of all events so far."""
        tallies = self._hosts.values()
        times = self._clocked()
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
            warnings=tuple(self._warnings),
            drivers=tuple(self._drivers.values()),
            phase_times=tuple(r.PhaseTime(phase, round(spent, 3)) for phase, spent in times.items()),
            slowest=tuple(sorted(self._slowest.values(), key=lambda time: -time.seconds)[:SLOWEST]),
            check=self._check,
            run=run,
            log=log,
        )

    def _host(self, name: str) -> HostTally:
        return self._hosts.setdefault(name, HostTally())

    def _start_phase(self, event: PhaseStart) -> None:
        self._times = self._clocked()
        self._course.phase, self._phase_since = event.phase, event.t
        self._course.begun.add(event.phase)
        if event.phase not in self._course.phases:
            self._course.phases.append(event.phase)
        for name in event.hosts:
            self._host(name).now = None

    def _end(self, event: RunEnd) -> None:
        self._times = self._clocked()
        self._course.complete, self._phase_since = True, None
        for name, counts in event.stats.items():
            self._host(name).close(counts)

    def _record(self, event: Result) -> None:
        payload = event.provision
        for rung in payload.rungs:
            self._rungs[event.host, rung.service, rung.rung] = r.Rung(host=event.host, **vars(rung))
        if answer := payload.answer:
            self._answers[event.host, answer.service] = r.Answer(host=event.host, **vars(answer))
        if payload.driver:
            self._drivers[event.host] = r.Driver(event.host, payload.driver.installed)
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
    events: Iterable[Event],
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
