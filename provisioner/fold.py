# SPDX-License-Identifier: Apache-2.0
"""Fold events into what is known of a run: for the live screen at any time, for the report at the end."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import singledispatchmethod

from provisioner import report as r
from provisioner.events import (
    Counts,
    Event,
    PhaseStart,
    Progress,
    Result,
    RunEnd,
    RunStart,
    TaskStart,
    Transfer,
)
from provisioner.unreachable import explain, hint

RUNNING, WAITING = "running", "waiting"
SLOWEST = 5
SHIPPED = re.compile(r"^.*/(?=(?:roles|playbooks)/)")


@dataclass(frozen=True)
class Now:
    """Tell what a host is busy with."""

    task: str
    since: float
    transfer: Transfer | None = None
    attempt: int | None = None
    attempts: int | None = None


@dataclass
class _Tally:
    started: bool = False
    results: dict[str, int] = field(default_factory=dict)


@dataclass
class _Host:
    tallies: dict[str, _Tally] = field(default_factory=dict)
    items: list[r.Failure] = field(default_factory=list)
    failed: list[tuple[r.Failure, ...]] = field(default_factory=list)
    rescued: int = 0
    counts: Counts = field(default_factory=Counts)
    now: Now | None = None

    def real(self) -> list[tuple[r.Failure, ...]]:
        """Leave out what a rescue section has mended: a host goes on after that, so those come first."""
        return self.failed[self.rescued :]

    def tally(self, phase: str) -> _Tally:
        return self.tallies.setdefault(phase, _Tally())


class Fold:
    """Take events with `add`; tell with `state`, `now` and `report`."""

    def __init__(self, hosts: Iterable[str] = (), phases: Iterable[str] = ()) -> None:
        self._hosts = {name: _Host() for name in hosts}
        self._phases = list(phases)
        self._phase = ""
        self._complete = False
        self._begun: float | None = None
        self._last: float | None = None
        self._phase_since: float | None = None
        self._phase_seconds: dict[str, float] = {}
        self._slowest: dict[tuple[str, str], r.TaskTime] = {}
        self._changes: list[r.Change] = []
        self._rungs: dict[tuple[str, str | None, str], r.Rung] = {}
        self._answers: dict[tuple[str, str], r.Answer] = {}
        self._warnings: dict[r.Warned, None] = {}

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the names of all hosts, planned ones first."""
        return tuple(self._hosts)

    @property
    def phases(self) -> tuple[str, ...]:
        """Return the names of all phases in order."""
        return tuple(self._phases)

    @property
    def phase(self) -> str:
        """Return the phase that runs now, or an empty text."""
        return self._phase

    @property
    def started(self) -> float | None:
        """Return when the first event happened."""
        return self._begun

    def now(self, host: str) -> Now | None:
        """Return what the host is busy with, or None."""
        return self._hosts[host].now

    def state(self, host: str, phase: str) -> r.Cell:
        """Return how far a phase is on a host; running and waiting come on top of a report's outcomes."""
        known = self._hosts[host]
        tally = known.tallies.get(phase, _Tally())
        changed, tasks = tally.results.get(r.CHANGED, 0), sum(tally.results.values())
        kinds = {failure.kind for group in known.real() for failure in group if failure.phase == phase}
        live = phase == self._phase and not self._complete and not known.real()
        if kinds:
            outcome = r.UNREACHABLE if r.UNREACHABLE in kinds else r.FAILED
        elif live and tally.started:
            outcome = RUNNING
        elif tally.results:
            order = (r.CHANGED, r.OK, r.SKIPPED)
            outcome = next((name for name in order if tally.results.get(name)), r.OK)
        else:
            outcome = self._empty(known, phase)
        return r.Cell(phase, outcome, changed, tasks)

    def add(self, event: Event) -> None:
        """Take in one event."""
        self._begun = event.t if self._begun is None else self._begun
        self._last = event.t
        self._take(event)

    def report(self, run: str | None = None, log: str | None = None) -> r.Report:
        """Return the report of all events so far."""
        failures = [failure for host in self._hosts.values() for group in host.real() for failure in group]
        failures += [failure for host in self._hosts.values() for failure in host.items]
        times = dict(self._phase_seconds)
        self._clock(times)
        return r.Report(
            started=self._begun,
            finished=self._last,
            complete=self._complete,
            phases=self.phases,
            hosts=tuple(self._host_report(name) for name in self._hosts),
            failures=tuple(failures),
            changes=tuple(self._changes),
            rungs=tuple(sorted(self._rungs.values(), key=self._rung_order)),
            answers=tuple(self._answers.values()),
            warnings=tuple(self._warnings),
            phase_times=tuple(r.PhaseTime(phase, round(spent, 3)) for phase, spent in times.items()),
            slowest=tuple(sorted(self._slowest.values(), key=lambda time: -time.seconds)[:SLOWEST]),
            run=run,
            log=log,
        )

    @singledispatchmethod
    def _take(self, event: Event) -> None:
        """Ignore a kind of event that says nothing to the report."""

    @_take.register
    def _(self, _event: RunStart) -> None:
        self._complete = False

    @_take.register
    def _(self, event: PhaseStart) -> None:
        self._clock(self._phase_seconds)
        self._phase, self._phase_since = event.phase, event.t
        if event.phase not in self._phases:
            self._phases.append(event.phase)
        for name in event.hosts:
            self._host(name).now = None

    @_take.register
    def _(self, event: TaskStart) -> None:
        host = self._host(event.host)
        if any(failure.phase != event.phase for group in host.real() for failure in group):
            host.rescued = len(host.failed)
        host.tally(event.phase).started = True
        host.items.clear()
        host.now = Now(event.task, event.t)

    @_take.register
    def _(self, event: Progress) -> None:
        host = self._host(event.host)
        now = host.now or Now(event.task, event.t)
        transfer = event.provision.progress or now.transfer
        host.now = replace(now, transfer=transfer, attempt=event.attempt, attempts=event.attempts)

    @_take.register
    def _(self, event: Result) -> None:
        host = self._host(event.host)
        self._learn(event)
        bad = event.status in (r.FAILED, r.UNREACHABLE)
        if event.item is not None:
            host.items += [_failure(event)] if bad else []
            return
        if bad and not event.ignored:
            host.failed.append(tuple(host.items) or (_failure(event),))
        host.items.clear()
        host.now = None
        self._count(event, host.tally(event.phase))

    @_take.register
    def _(self, event: RunEnd) -> None:
        self._clock(self._phase_seconds)
        self._phase_since = None
        self._complete = True
        for name, counts in event.stats.items():
            host = self._host(name)
            host.counts, host.rescued, host.now = counts, counts.rescued, None

    def _host(self, name: str) -> _Host:
        return self._hosts.setdefault(name, _Host())

    def _count(self, event: Result, tally: _Tally) -> None:
        status = r.OK if event.ignored else event.status
        tally.results[status] = tally.results.get(status, 0) + 1
        if event.status == r.CHANGED:
            self._changes.append(r.Change(event.host, event.phase, event.task, _where(event.path)))
        spent = r.TaskTime(event.phase, event.task, event.host, event.duration_s)
        key = (event.phase, event.task)
        if key not in self._slowest or self._slowest[key].seconds < spent.seconds:
            self._slowest[key] = spent

    def _learn(self, event: Result) -> None:
        told = event.provision
        for rung in told.rungs:
            self._rungs[event.host, rung.service, rung.rung] = r.Rung(host=event.host, **vars(rung))
        if told.answer:
            given = r.Answer(host=event.host, **vars(told.answer))
            self._answers[event.host, given.service] = given
        for text in told.warning:
            self._warnings[r.Warned(event.host, text)] = None

    def _empty(self, host: _Host, phase: str) -> str:
        """Tell apart what comes later, what had nothing to do, and what will never come."""
        index = self._phases.index
        if failed := host.real():
            return r.SKIPPED if index(phase) < index(failed[0][0].phase) else r.NOT_REACHED
        if self._complete:
            return r.SKIPPED if host.tallies else r.NOT_REACHED
        over = self._phase in self._phases and index(phase) < index(self._phase)
        return r.SKIPPED if over and host.tallies else WAITING

    def _host_report(self, name: str) -> r.HostReport:
        final = {RUNNING: r.INTERRUPTED, WAITING: r.NOT_REACHED}
        cells = (self.state(name, phase) for phase in self._phases)
        return r.HostReport(
            name,
            tuple(replace(cell, outcome=final.get(cell.outcome, cell.outcome)) for cell in cells),
            self._hosts[name].counts,
        )

    def _clock(self, times: dict[str, float]) -> None:
        if self._phase_since is not None and self._last is not None:
            times[self._phase] = times.get(self._phase, 0.0) + self._last - self._phase_since

    def _rung_order(self, rung: r.Rung) -> tuple[int, str, int]:
        place = r.RUNGS.index(rung.rung) if rung.rung in r.RUNGS else len(r.RUNGS)
        return list(self._hosts).index(rung.host), rung.service or "", place


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


def _failure(event: Result) -> r.Failure:
    message, step = event.msg.strip(), event.provision.next
    if event.status == r.UNREACHABLE:
        message, way_out = explain(message, event.host)
        step = step or way_out
    return r.Failure(
        host=event.host,
        phase=event.phase,
        task=event.task,
        where=_where(event.path),
        message=message or "the details are hidden because the task may show secrets",
        next=step or hint(event.msg),
        kind=event.status,
        item=event.item,
        consent=event.provision.consent,
    )


def _where(path: str) -> str:
    return SHIPPED.sub("", path)
