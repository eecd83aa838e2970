# SPDX-License-Identifier: Apache-2.0
"""Say what an apply would do, from the inventory alone: no host is contacted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from provisioner import content, values
from provisioner.errors import UsageError
from provisioner.services import Service
from provisioner.spec import Fleet, Host

SCHEMA = 1


@dataclass(frozen=True)
class Phase:
    """Name one part of the site, in the order of `playbooks/site.yml`."""

    name: str
    title: str


@dataclass(frozen=True)
class Plan:
    """Hold the phases that will run, on which hosts, and what deserves a second look."""

    fleet: Fleet
    phases: tuple[Phase, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as the document that `plan --json` prints and a run keeps."""
        return {
            "schema": SCHEMA,
            "inventory": self.fleet.source,
            "phases": [phase.name for phase in self.phases],
            "hosts": [_host(host) for host in self.fleet.hosts],
            "warnings": list(self.warnings),
        }


def phases() -> tuple[Phase, ...]:
    """Return every phase of the site in order."""
    entries = yaml.safe_load(content.playbook("site").read_text())
    paths = [entry.get("ansible.builtin.import_playbook") for entry in entries]
    names = [str(path).removesuffix(".yml") for path in paths if path]
    return tuple(Phase(name, name.capitalize()) for name in names)


def make(fleet: Fleet, only: Sequence[str] = ()) -> Plan:
    """Return the plan for `fleet`, of the phases named in `only` or of all.

    Raises UsageError for a name that is none.
    """
    known = phases()
    names = [phase.name for phase in known]
    for name in only:
        if name not in names:
            raise UsageError(f"there is no phase {name}", f"the phases are {', '.join(names)}")
    chosen = tuple(phase for phase in known if not only or phase.name in only)
    return Plan(fleet, chosen, tuple(_warnings(fleet)))


def _warnings(fleet: Fleet) -> list[str]:
    moving: dict[str, list[str]] = {}
    exposed: dict[str, list[str]] = {}
    for host in fleet.hosts:
        for service in host.services:
            model = service.model
            if not model.is_pinned:
                moving.setdefault(f"{model.name} from {model.source}", []).append(host.name)
            open_to_all = not service.address.startswith(("127.", "::1", "localhost"))
            if (
                open_to_all
                and not values.is_deferred(service.address)
                and not service.settings.get("serve_api_key_file")
            ):
                exposed.setdefault(f"{service.unit} listens on {service.address}", []).append(host.name)
    found = [
        f"{model} is not pinned (serve_model_revision): the first download decides, on {_some(hosts)}"
        for model, hosts in moving.items()
    ]
    return found + [
        f"{what} without an API key (serve_api_key_file), on {_some(on)}" for what, on in exposed.items()
    ]


def _some(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _host(host: Host) -> dict[str, Any]:
    return {
        "name": host.name,
        "address": host.address,
        "port": host.port,
        "groups": list(host.groups),
        "services": [_service(service) for service in host.services],
        "decided_at_run_time": list(host.templated),
    }


def _service(service: Service) -> dict[str, Any]:
    return {
        "name": service.name,
        "engine": service.engine.name,
        "unit": service.unit,
        "model": service.model.name,
        "source": service.model.source,
        "revision": service.model.revision,
        "directory": service.model.directory,
        "address": service.address,
        "port": service.port,
        "gpus": list(service.gpus),
        "environment": dict(service.settings["serve_env"])
        if isinstance(service.settings["serve_env"], dict)
        else {},
        "arguments": list(service.settings["serve_args"])
        if isinstance(service.settings["serve_args"], list)
        else [],
    }
