# SPDX-License-Identifier: Apache-2.0
"""Hold the results of a run (host by phase, failures, rungs, answers), its exit code and its JSON document.

`fold` makes a report from events; nothing here prints.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from provisioner.ansible.module_utils.provision.host import payload
from provisioner.runs.events import Counts, load

SCHEMA = "provision.report/1"
RUNGS = ("reachable", "driver", "gpus", "files", "unit", "api", "token", "device", "settings", "throughput")
OK, CHANGED, FAILED, UNREACHABLE, SKIPPED = "ok", "changed", "failed", "unreachable", "skipped"
NOT_REACHED, INTERRUPTED = "not reached", "interrupted"


@dataclass(frozen=True)
class Cell:
    """How one phase ended on one host: one of the seven outcomes above."""

    phase: str
    outcome: str
    changed: int = 0
    tasks: int = 0


@dataclass(frozen=True)
class HostReport:
    """How each phase ended on a host, with Ansible's own counts; `skipped` says why it was left out."""

    name: str
    cells: tuple[Cell, ...]
    counts: Counts = field(default_factory=Counts)
    skipped: str = ""

    @property
    def outcome(self) -> str:
        """Return the worst outcome of all phases."""
        found = {cell.outcome for cell in self.cells}
        order = (UNREACHABLE, FAILED, INTERRUPTED, CHANGED, OK, NOT_REACHED, SKIPPED)
        return next((outcome for outcome in order if outcome in found), NOT_REACHED)


@dataclass(frozen=True)
class Failure:
    """What failed, where, and what to do next; `kind` is failed or unreachable."""

    host: str
    phase: str
    task: str
    where: str
    message: str
    next: str | None = None
    kind: str = FAILED
    item: str | None = None
    consent: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class Change:
    """One task that changed a host."""

    host: str
    phase: str
    task: str
    where: str


@dataclass(frozen=True)
class OnHost:
    """Add the host to what a module reported."""

    host: str


@dataclass(frozen=True)
class Rung(payload.Rung, OnHost):
    """One rung of the verification ladder of a host, or of one of its services."""


@dataclass(frozen=True)
class Answer(payload.Answer, OnHost):
    """The answer of a model on a host."""


@dataclass(frozen=True)
class Warned:
    """A warning of a host, which is not a failure."""

    host: str
    text: str


@dataclass(frozen=True)
class Driver:
    """The GPU driver that was last found on a host; the version is None without one."""

    host: str
    installed: str | None = None


@dataclass(frozen=True)
class Replaced(payload.Replaced, OnHost):
    """What an update has replaced on disk under a running unit of a host; often nothing."""

    @property
    def restart(self) -> str:
        """Return what loads the new files; apply does not restart a unit for them alone."""
        command = (
            f"provision exec -b INVENTORY --limit {self.host} -- systemctl --no-block restart {self.unit}"
        )
        return f"restart it when it suits you: {command}"

    @property
    def advice(self) -> str:
        """Return the finding with what to do about it."""
        return f"{self.says}; {self.restart}"

    def warned(self) -> Warned:
        """Return the warning that a report shows."""
        return Warned(self.host, self.advice)


@dataclass(frozen=True)
class PhaseTime:
    """How long a phase took, all its hosts together."""

    phase: str
    seconds: float


@dataclass(frozen=True)
class TaskTime:
    """How long a task took on the slowest host."""

    phase: str
    task: str
    host: str
    seconds: float


@dataclass(frozen=True)
class Report:
    """The results of a run; `complete` is false when it was cut short."""

    started: float | None
    finished: float | None
    complete: bool
    phases: tuple[str, ...]
    hosts: tuple[HostReport, ...]
    failures: tuple[Failure, ...] = ()
    changes: tuple[Change, ...] = ()
    rungs: tuple[Rung, ...] = ()
    answers: tuple[Answer, ...] = ()
    warnings: tuple[Warned, ...] = ()
    drivers: tuple[Driver, ...] = ()
    replaced: tuple[Replaced, ...] = ()
    phase_times: tuple[PhaseTime, ...] = ()
    slowest: tuple[TaskTime, ...] = ()
    check: bool = False
    run: str | None = None
    log: str | None = None

    @property
    def seconds(self) -> float:
        """Return how long the run took."""
        return (self.finished or 0.0) - (self.started or 0.0)

    @property
    def changed(self) -> int:
        """Return how many tasks changed something, or would have in check mode."""
        return len(self.changes)

    @property
    def consent(self) -> tuple[str, ...]:
        """Return what needs consent, each as `host: what`."""
        return tuple(f"{failure.host}: {need}" for failure in self.failures for need in failure.consent)

    @property
    def unhealthy(self) -> tuple[Rung, ...]:
        """Return the rungs that failed."""
        return tuple(rung for rung in self.rungs if rung.status == FAILED)

    @property
    def skipped(self) -> tuple[HostReport, ...]:
        """Return the hosts that the inventory itself leaves out."""
        return tuple(host for host in self.hosts if host.skipped)

    @property
    def missed(self) -> tuple[str, ...]:
        """Return the hosts that the run did not reach although nothing failed on them."""
        stopped = {failure.host for failure in self.failures}
        unfinished = (host.name for host in self.hosts if any(c.outcome == NOT_REACHED for c in host.cells))
        return tuple(name for name in unfinished if name not in stopped)

    @property
    def exit_code(self) -> int:
        """Return 0 when nothing failed, 2 when only consent is missing, else 1."""
        broken = any(not failure.consent for failure in self.failures)
        if broken or self.unhealthy or self.missed or not self.complete:
            return 1
        return 2 if self.failures else 0

    def to_json(self) -> str:
        """Return the report as one JSON document."""
        head = {"schema": SCHEMA, "exit_code": self.exit_code, "changed": self.changed}
        return json.dumps({**head, "seconds": round(self.seconds, 3), **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read a document that `to_json` wrote; raise ValueError when it is of another kind."""
        raw: Any = json.loads(text)
        if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
            raise ValueError(f"not a document of the schema {SCHEMA}")
        try:
            return load(cls, raw)
        except TypeError as error:
            raise ValueError(f"a damaged document of the schema {SCHEMA}: {error}") from error
