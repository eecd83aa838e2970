# SPDX-License-Identifier: Apache-2.0
"""Judge the state of hosts, services and models from the answers of hosts; nothing here prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provisioner.errors import HostError
from provisioner.fleet.services import Service
from provisioner.plain import one_line
from provisioner.remote import program
from provisioner.remote.reach import Way
from provisioner.remote.ssh import Remote
from provisioner.runs import evidence
from provisioner.runs.report import Replaced

SERVING = "serving"
STARTING = "starting"
_RESULTS = {0: "done", 1: "failed", 2: "needed consent"}


@dataclass(frozen=True)
class ServiceStatus:
    """The state of one service; `note` explains it, or says what a serving one still needs."""

    name: str
    unit: str
    state: str
    model: str
    uptime_s: float | None = None
    restarts: int = 0
    note: str = ""
    # What its processes execute and an update has replaced on disk.
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True)
class LastRun:
    """The last run of this inventory that worked on a host, and how it ended there."""

    id: str
    started: float
    result: str


@dataclass(frozen=True)
class HostStatus:
    """The state of one host; `trouble` and `next` are set when it could not be inspected.

    `unnamed` holds the units on it that are no longer in the inventory.
    """

    name: str
    services: tuple[ServiceStatus, ...] = ()
    last_run: LastRun | None = None
    trouble: str | None = None
    next: str | None = None
    unnamed: tuple[str, ...] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def is_well(self) -> bool:
        """Return whether the host answered and all its services serve."""
        return self.trouble is None and all(service.state == SERVING for service in self.services)

    def to_json(self) -> dict[str, Any]:
        """Return the host's part of the document that `status --json` prints."""
        return {**dataclasses.asdict(self), "well": self.is_well}


def inspect(remote: Remote, seconds: float) -> dict[str, Any]:
    """Return what the host reports about itself and its services, in one round trip; raises HostError."""
    way = remote.way
    request = {
        "services": [
            {"name": one.name, "unit": one.unit, "url": one.url, "health_path": one.engine.health_path}
            for one in way.services
        ],
        "paths": ["/", *way.model_folders],
    }
    return program.call(remote, "status", request, seconds)


def judge(way: Way, answer: Mapping[str, Any], last_run: LastRun | None) -> HostStatus:
    """Return the status of a host that has answered."""
    found = {one["unit"]: one for one in answer["services"]}
    return HostStatus(
        way.host,
        services=tuple(_service(found[one.unit], one, way.host) for one in way.services),
        last_run=last_run,
        unnamed=tuple(answer["unnamed"]),
        facts={key: value for key, value in answer.items() if key not in ("services", "unnamed")},
    )


def failed(way: Way, error: HostError, last_run: LastRun | None) -> HostStatus:
    """Return the status of a host that could not be inspected."""
    return HostStatus(way.host, trouble=error.message, next=error.next_step, last_run=last_run)


def _service(found: Mapping[str, Any], service: Service, host: str) -> ServiceStatus:
    model = service.served_name
    # A model without a tag may be listed under the default one.
    tag = service.engine.default_tag
    outdated = Replaced(host, found["unit"], tuple(found["replaced"]))
    state, note = _state(found, (model, f"{model}:{tag}") if tag else (model,), any_case=bool(tag))
    return ServiceStatus(
        name=found["name"],
        unit=found["unit"],
        state=state,
        model=model,
        uptime_s=found["uptime_s"],
        restarts=found["restarts"],
        note=note or (outdated.advice if outdated.libraries else ""),
        replaced=outdated.libraries,
    )


def _state(found: Mapping[str, Any], model: Sequence[str], *, any_case: bool) -> tuple[str, str]:
    """Return the state and, unless it serves, the reason; names with a default tag have no case."""
    active = found["active"]
    absent = {
        "not-found": ("missing", "not installed on this host yet: run provision apply"),
        "masked": ("masked", f"run `systemctl unmask {found['unit']}` on the host, then provision apply"),
    }
    if found["load"] in absent:
        return absent[found["load"]]
    if active in ("activating", "reloading"):
        return STARTING, _starting(found)
    if active != "active":
        failed = f"{found['result']}: provision logs shows why"
        return active, failed if active == "failed" else "provision apply starts it"
    if found["error"] or found["health"] != 200:
        return "unhealthy", one_line(found["error"] or f"its health check returns {found['health']}")
    fold = str.casefold if any_case else str
    if not set(map(fold, model)) & set(map(fold, found["models"])):
        names = ", ".join(found["models"]) or "no model"
        return "unhealthy", f"serves {one_line(names)} instead of {model[0]}"
    return SERVING, ""


def _starting(found: Mapping[str, Any]) -> str:
    """Return what a service that is starting waits for."""
    restarts = found["restarts"]
    times = f", restarted {restarts} time{'' if restarts == 1 else 's'}" if restarts else ""
    if found["sub"].startswith("auto-restart"):
        return f"it exited ({found['result']}) and restarts in a moment{times}: provision logs shows why"
    return f"waiting for its first answer{times}"


def last_runs(inventory: str, hosts: Sequence[str]) -> dict[str, LastRun]:
    """Return the last run of each host, from what runs of this inventory have recorded."""
    found: dict[str, LastRun] = {}
    for run, report in evidence.runs_of(inventory):
        if len(found) == len(hosts):
            break
        stopped = {failure.host for failure in report.failures}
        for host in report.hosts:
            result = _RESULTS.get(report.exit_code, "failed") if host.name in stopped else "done"
            if host.name in hosts:
                found.setdefault(host.name, LastRun(run.id, run.started.timestamp(), result))
    return found
