# SPDX-License-Identifier: Apache-2.0
"""Plan what an apply would do, from the inventory alone: no host is contacted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from provisioner import content, documents, versions
from provisioner.errors import UsageError
from provisioner.fleet import addresses, knobs, stack, unknown, variables
from provisioner.fleet.services import Service
from provisioner.fleet.spec import Fleet, Host
from provisioner.runs import evidence

SCHEMA = 1
_BARE = (
    f"{unknown.LEFT_ALONE}, so the host is left alone (set nvidia_driver_state: auto to have it prepared; "
    "remove --limit undoes an earlier apply)"
)
_LOCAL = (
    "this tool runs on the host itself and cannot reboot it, so a change of the driver that needs a reboot "
    "is refused before anything is changed"
)


@dataclass(frozen=True)
class Phase:
    """Describe one part of the site, in the order of `playbooks/site.yml`."""

    name: str
    title: str


@dataclass(frozen=True)
class Plan:
    """Hold the phases, the hosts, the drivers that would be replaced, and warnings."""

    fleet: Fleet
    phases: tuple[Phase, ...]
    warnings: tuple[str, ...]
    changes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the plan as the document that `plan --json` prints and a run keeps."""
        return {
            "schema": SCHEMA,
            "inventory": self.fleet.source,
            "phases": [phase.name for phase in self.phases],
            "hosts": [_host(host) for host in self.fleet.hosts],
            "changes": list(self.changes),
            "warnings": list(self.warnings),
        }


def phases() -> tuple[Phase, ...]:
    """Return every phase of the site in order."""
    entries = documents.read(content.playbook("site"))
    paths = [entry.get("ansible.builtin.import_playbook") for entry in entries]
    names = [str(path).removesuffix(".yml") for path in paths if path]
    return tuple(Phase(name, name.capitalize()) for name in names)


def make(fleet: Fleet, only: Sequence[str] = ()) -> Plan:
    """Return the plan for `fleet`, with all phases or `only` some; raises UsageError for an unknown one."""
    known = phases()
    names = [phase.name for phase in known]
    for name in only:
        if name not in names:
            raise UsageError(f"there is no phase {name}", f"the phases are {', '.join(names)}")
    chosen = tuple(phase for phase in known if not only or phase.name in only)
    return Plan(fleet, chosen, tuple(_warnings(fleet)), tuple(_driver_changes(fleet)))


def some(names: Sequence[str], most: int = 3) -> str:
    """Return names as a list that does not grow with the fleet."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _driver_changes(fleet: Fleet) -> Iterator[str]:
    """Yield a line for each driver that an apply would replace, from what the last run found."""
    known = evidence.drivers(fleet.source, [host.name for host in fleet.hosts])
    seen: dict[tuple[str, str], list[str]] = {}
    for host in fleet.hosts:
        driver, installed = host.compatibility.driver, known.get(host.name)
        if installed and driver.version and driver.branch and not versions.is_of(installed, driver.version):
            seen.setdefault((installed, driver.version), []).append(host.name)
    for (installed, wanted), hosts in seen.items():
        yield (
            f"{some(hosts)}: driver {installed}, which the last run found, is replaced by {wanted}; apply "
            "asks before it stops programs that use the GPUs"
        )


def _warnings(fleet: Fleet) -> Iterator[str]:
    seen: dict[str, list[str]] = {}
    for warning, host in (*_of_services(fleet), *_seen(fleet), *_of_hosts(fleet)):
        seen.setdefault(warning, []).append(host)
    for warning, hosts in seen.items():
        yield f"{warning}, on {some(list(dict.fromkeys(hosts)))}"


def _of_services(fleet: Fleet) -> Iterator[tuple[str, str]]:
    for doubt in (_moving, _exposed, _updated):
        for host in fleet.hosts:
            for service in host.services:
                if warning := doubt(service):
                    yield warning, host.name
    for host in fleet.hosts:
        yield from ((note, host.name) for service in host.services for note in knobs.notes(service))


def _seen(fleet: Fleet) -> Iterator[tuple[str, str]]:
    for one in evidence.replaced(fleet.source, [host.name for host in fleet.hosts]):
        yield f"when the last run looked, {one.says}; apply does not restart it for that alone", one.host


def _of_hosts(fleet: Fleet) -> Iterator[tuple[str, str]]:
    for host in fleet.hosts:
        yield from ((note, host.name) for note in (*host.compatibility.notes, *host.notes))
        if host.is_bare:
            yield _BARE, host.name
        elif host.is_local and host.compatibility.driver.state not in (stack.ABSENT, stack.IGNORED):
            yield _LOCAL, host.name


def _moving(service: Service) -> str | None:
    model = service.model
    if model.is_pinned:
        return None
    what = f"{model.name} from {model.source} is not pinned"
    library = service.engine.library
    if model.kept_by_engine and library and library.unpinned:
        return f"{what} {library.unpinned}"
    return f"{what} (serve_model_revision): the first download decides"


def _exposed(service: Service) -> str | None:
    address, key = service.address, service.settings.get("serve_api_key_file")
    if variables.is_deferred(address) or addresses.is_loopback(address):
        return None
    title = service.engine.title
    places = " and ".join(service.listens_on)
    if key:
        return f"{service.unit} listens on {places}, and {service.engine.reachable}"
    note = "serve_api_key_file" if service.engine.api_key else f"{title} does not support one"
    return f"{service.unit} listens on {places} without an API key ({note})"


def _updated(service: Service) -> str | None:
    """Return what the distribution's own updates do to an engine that is its package, or None."""
    engine = service.engine
    if service.settings.get(f"{engine.role}_source") != "package":
        return None
    return (
        f"{service.unit} runs the distribution's package of {engine.title}, which unattended upgrades may "
        "change overnight; the next start runs the new version (`apt-mark hold` on the host prevents it)"
    )


def _host(host: Host) -> dict[str, Any]:
    return {
        "name": host.name,
        "address": host.address,
        "port": host.port,
        "groups": list(host.groups),
        "left_alone": host.is_bare,
        "services": [_service(service) for service in host.services],
        "compatibility": host.compatibility.to_json(),
        "decided_at_run_time": list(host.templated),
    }


def _service(service: Service) -> dict[str, Any]:
    profile = service.profile
    return {
        "name": service.name,
        "engine": service.engine.name,
        "unit": service.unit,
        "model": service.model.name,
        "task": service.settings["serve_task"],
        "source": service.model.source,
        "revision": service.model.revision,
        "directory": service.model.directory,
        "address": service.address,
        "port": service.port,
        "gpus": list(service.gpus),
        "profile": dataclasses.asdict(profile) if profile else None,
        "environment": dict(service.settings["serve_env"])
        if isinstance(service.settings["serve_env"], dict)
        else {},
        "arguments": list(service.settings["serve_args"])
        if isinstance(service.settings["serve_args"], list)
        else [],
    }
