# SPDX-License-Identifier: Apache-2.0
"""Say how hosts, services and models are: the answers of hosts, judged; nothing here prints."""

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

SERVING = "serving"
STARTING = "starting"
_RESULTS = {0: "done", 1: "failed", 2: "needed consent"}


@dataclass(frozen=True)
class ServiceStatus:
    """Say how one service is; `note` explains every state but serving."""

    name: str
    unit: str
    state: str
    model: str
    uptime_s: float | None = None
    restarts: int = 0
    note: str = ""


@dataclass(frozen=True)
class LastRun:
    """Name the last run of this inventory that worked on a host, and how it ended there."""

    id: str
    started: float
    result: str


@dataclass(frozen=True)
class HostStatus:
    """Say how one host is; `trouble` and `next` are set when it could not be asked.

    `unnamed` holds the units on it that the inventory no longer names.
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
        """Tell whether the host answered and all its services serve."""
        return self.trouble is None and all(service.state == SERVING for service in self.services)

    def to_json(self) -> dict[str, Any]:
        """Return the host's part of the document that `status --json` prints."""
        return {**dataclasses.asdict(self), "well": self.is_well}


def ask(remote: Remote, seconds: float) -> dict[str, Any]:
    """Return what the host says of itself and its services, in one round trip; raises HostError."""
    way = remote.way
    asked = {
        "services": [
            {"name": one.name, "unit": one.unit, "url": one.url, "health_path": one.engine.health_path}
            for one in way.services
        ],
        "paths": ["/", *way.model_folders],
    }
    return program.call(remote, "status", asked, seconds)


def judge(way: Way, said: Mapping[str, Any], last_run: LastRun | None) -> HostStatus:
    """Return the status of a host that has answered."""
    found = {one["unit"]: one for one in said["services"]}
    return HostStatus(
        way.host,
        services=tuple(_service(found[one.unit], one) for one in way.services),
        last_run=last_run,
        unnamed=tuple(said["unnamed"]),
        facts={key: value for key, value in said.items() if key not in ("services", "unnamed")},
    )


def failed(way: Way, error: HostError, last_run: LastRun | None) -> HostStatus:
    """Return the status of a host that could not be asked."""
    return HostStatus(way.host, trouble=error.message, next=error.next_step, last_run=last_run)


def _service(said: Mapping[str, Any], asked: Service) -> ServiceStatus:
    model = asked.served_name
    # What has no tag may be listed under the one that this means.
    tag = asked.engine.default_tag
    state, note = _state(said, (model, f"{model}:{tag}") if tag else (model,))
    return ServiceStatus(
        name=said["name"],
        unit=said["unit"],
        state=state,
        model=model,
        uptime_s=said["uptime_s"],
        restarts=said["restarts"],
        note=note,
    )


def _state(said: Mapping[str, Any], model: Sequence[str]) -> tuple[str, str]:
    """Return one word for the state and, unless it serves, why."""
    active = said["active"]
    if said["load"] == "not-found":
        return "missing", "not on this host yet: provision apply"
    if active in ("activating", "reloading"):
        return STARTING, _starting(said)
    if active != "active":
        return (
            active,
            f"{said['result']}: provision logs shows why"
            if active == "failed"
            else "provision apply starts it",
        )
    if said["error"] or said["health"] != 200:
        return "unhealthy", one_line(said["error"] or f"its health page answers {said['health']}")
    if not set(model) & set(said["models"]):
        names = ", ".join(said["models"]) or "no model"
        return "unhealthy", f"serves {one_line(names)} instead of {model[0]}"
    return SERVING, ""


def _starting(said: Mapping[str, Any]) -> str:
    """Say what a service that is coming up waits for."""
    restarts = said["restarts"]
    times = f", restarted {restarts} time{'' if restarts == 1 else 's'}" if restarts else ""
    if said["sub"].startswith("auto-restart"):
        return f"it ended ({said['result']}) and starts again in a moment{times}: provision logs shows why"
    return f"waits for its first answer{times}"


def last_runs(inventory: str, hosts: Sequence[str]) -> dict[str, LastRun]:
    """Return the last run of each host, from the evidence that runs of this inventory have left."""
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
