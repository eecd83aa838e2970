# SPDX-License-Identifier: Apache-2.0
"""Turn the variables of one host into its services: merged, typed, frozen.

The command line calls this with the inventory's values, where templates are still unresolved, and the
`provision_services` action plugin with the values that Ansible has resolved, so both apply the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from provisioner.fleet import addresses, engines, environment, models, variables
from provisioner.fleet.engines import Engine
from provisioner.fleet.environment import Moved
from provisioner.fleet.findings import Finding
from provisioner.fleet.models import Model

LIST_VARIABLE = "serve_services"
PROFILE_VARIABLE = "serve_profile"
# These have no meaning unless a model is served, so any of them shows that a service is requested.
STARTING_VARIABLES = ("serve_engine", "serve_model", "serve_model_source", "serve_name")


@dataclass(frozen=True)
class Profile:
    """What a profile sets for one service, and what the inventory overrides."""

    name: str
    sets: Mapping[str, Any]
    overruled: Mapping[str, Any]


@dataclass(frozen=True)
class Service:
    """Describe one served model of a host.

    `own` are the engine's variables that the inventory sets; `spelt` maps those set in `serve_env` to their
    names there.
    """

    name: str
    engine: Engine
    unit: str
    model: Model
    served_name: str
    address: str
    gpus: tuple[str, ...]
    settings: Mapping[str, Any] = field(repr=False)
    item: int | None = None
    profile: Profile | None = None
    own: frozenset[str] = frozenset()
    spelt: Mapping[str, str] = field(default_factory=dict)

    @property
    def port(self) -> int | None:
        """Return the port, None while only Ansible can know it."""
        port = self.settings["serve_port"]
        return port if isinstance(port, int) else None

    @property
    def listens_on(self) -> tuple[str, ...]:
        """Return the addresses on which the engine will listen; for some, 0.0.0.0 means both families."""
        both = self.engine.both_families and self.address == addresses.EVERY_IPV4
        return (self.address, addresses.EVERY_IPV6) if both else (self.address,)

    @property
    def url(self) -> str:
        """Return the base address that a client on the host itself uses."""
        address = {addresses.EVERY_IPV4: "127.0.0.1", "::": "::1"}.get(self.address, self.address)
        address = f"[{address}]" if ":" in address else address
        return f"http://{address}:{self.port}"

    def for_ansible(self) -> dict[str, Any]:
        """Return the flat mapping that roles read as `service`."""
        return {
            **self.settings,
            "unit": self.unit,
            "engine": self.engine.name,
            "title": self.engine.title,
            "health_path": self.engine.health_path,
            "tasks": list(self.engine.tasks),
            "model_dir": self.model.directory,
            "served_name": self.served_name,
            "url": self.url,
            "listens_on": list(self.listens_on),
        }


@dataclass(frozen=True)
class Resolved:
    """The services of one host and every mistake in its variables."""

    services: tuple[Service, ...]
    findings: tuple[Finding, ...]


def resolve(host_values: Mapping[str, Any], engine_defaults: Mapping[str, Mapping[str, Any]]) -> Resolved:
    """Return the services that `host_values` describe; `engine_defaults` has the defaults of each role."""
    catalog = variables.load()
    findings: list[Finding] = []
    common = {name: value for name, value in host_values.items() if name in catalog.variables}
    common, found = _checked(common, None)
    findings += found
    items = host_values.get(LIST_VARIABLE)
    if _is_whole_deferred(items):
        return Resolved((), tuple(findings))
    services: list[Service] = []
    for number, item in _items(items, common, findings):
        service, found = _service(number, item, common, engine_defaults)
        # A mistake in the host's own variables is found again with each of its services.
        findings += [finding for finding in found if finding not in findings]
        if service is not None:
            services.append(service)
    return Resolved(tuple(services), tuple(findings))


def _items(
    items: object, common: Mapping[str, Any], findings: list[Finding]
) -> list[tuple[int | None, Mapping[str, Any]]]:
    """Return the entries of `serve_services`, or the one service that the host's own variables describe."""
    if items is None:
        return [(None, {})] if any(common.get(name) for name in STARTING_VARIABLES) else []
    if not isinstance(items, list):
        return []  # its type has been reported with the host's own variables
    entries: list[tuple[int | None, Mapping[str, Any]]] = []
    for number, item in enumerate(items, start=1):
        if _is_whole_deferred(item):
            continue
        if isinstance(item, Mapping):
            entries.append((number, item))
        else:
            reason = (
                "every service must be a mapping of variables, such as {serve_name: chat, serve_model: …}"
            )
            findings.append(Finding(LIST_VARIABLE, reason, item, True, item=number))
    return entries


def _is_whole_deferred(value: object) -> bool:
    """Return whether nothing of a value is known yet, not even what it contains."""
    return variables.is_encrypted(value) or (isinstance(value, str) and variables.is_deferred(value))


def _checked(given: Mapping[str, Any], item: int | None) -> tuple[dict[str, Any], list[Finding]]:
    """Return the values as their variables' types, and a finding for each one that does not fit."""
    catalog = variables.load()
    checked: dict[str, Any] = {}
    findings = []
    for name, value in given.items():
        variable = catalog.variables[name]
        checked[name], reason = variables.check(variable, value)
        if reason:
            choices = variable.choices
            near = catalog.nearest(str(value), map(str, choices), 0.7) if choices else None
            hint = f"did you mean {near}?" if near else ""
            findings.append(Finding(name, reason, value, True, hint, item))
    return checked, findings


def _service(
    number: int | None,
    item: Mapping[str, Any],
    common: Mapping[str, Any],
    engine_defaults: Mapping[str, Mapping[str, Any]],
) -> tuple[Service | None, list[Finding]]:
    findings = [_unknown(name, number) for name in item if not _allowed_in_item(name)]
    own, found = _checked({name: value for name, value in item.items() if _allowed_in_item(name)}, number)
    findings += found
    given = {**common, **own}
    engine = engines.load().get(str(given.get("serve_engine")))
    if engine is None:
        item_of_engine = number if "serve_engine" in own else None
        return None, [*findings, *_missing_engine(given.get("serve_engine"), item_of_engine)]
    if not given.get("serve_model"):
        reason = f"is missing: {engine.title} needs a model to serve"
        return None, [*findings, Finding("serve_model", reason, item=number, hint="such as Qwen/Qwen3-8B")]
    if found and not variables.is_deferred(dict(given)):
        return None, findings
    moved = environment.move(engine, common, own, number)
    return _build(engine, moved, engine_defaults.get(engine.name, {}), number), [*findings, *moved.findings]


def _allowed_in_item(name: str) -> bool:
    catalog = variables.load()
    variable = catalog.variables.get(name)
    if variable is None or name == LIST_VARIABLE:
        return False
    return name in catalog.serve_variables or variable.owner.startswith("engine_")


def _unknown(name: str, item: int | None) -> Finding:
    catalog = variables.load()
    among = [known for known in catalog.variables if _allowed_in_item(known)]
    near = catalog.nearest(name, among) or catalog.nearest(f"serve_{name}", among, 0.8)
    hint = f"did you mean {near}?" if near else "see docs/reference/inventory.md"
    return Finding(name, "is not a variable of a service", hint=hint, item=item)


def _missing_engine(value: object, item: int | None) -> list[Finding]:
    if variables.is_deferred(value):
        return []
    known = ", ".join(sorted(engines.load()))
    if value is None:
        return [Finding("serve_engine", f"is missing: it must be one of {known}", item=item)]
    near = variables.load().nearest(str(value), engines.load())
    hint = f"did you mean {near}?" if near else ""
    return [Finding("serve_engine", f"must be one of {known}", value, True, hint, item)]


def _build(engine: Engine, moved: Moved, defaults: Mapping[str, Any], item: int | None) -> Service:
    given, catalog = moved.given, variables.load()
    own = frozenset(catalog.knobs(engine.name).keys() & given.keys())
    profile = _profile(engine, given)
    serve = {name: catalog.variables[name].default for name in sorted(catalog.serve_variables)}
    serve |= {name: given[name] for name in serve if given.get(name) is not None}
    settings = {
        **serve,
        **defaults,
        **(profile.sets if profile else {}),
        **{name: given[name] for name in sorted(own)},
    }
    name = str(settings.get("serve_name") or engine.name)
    model = models.identify(engine, settings, given)
    settings |= {
        "serve_name": name,
        "serve_address": addresses.plain(settings["serve_address"]),
        "serve_port": engine.port if settings.get("serve_port") in (None, "") else settings["serve_port"],
        "serve_model_revision": model.revision,
        "serve_gpus": settings.get("serve_gpus") or [],
        "serve_env": settings.get("serve_env") or {},
        "serve_args": settings.get("serve_args") or [],
    }
    settings.pop(LIST_VARIABLE, None)
    return Service(
        name=name,
        engine=engine,
        unit=_unit(engine.name, name),
        model=model,
        served_name=PurePosixPath(model.name).name if model.source == "path" else model.name,
        address=str(settings["serve_address"]),
        gpus=models.texts(settings["serve_gpus"]),
        settings=settings,
        item=item,
        profile=profile,
        own=own,
        spelt=moved.spelt,
    )


def _profile(engine: Engine, given: Mapping[str, Any]) -> Profile | None:
    """Return the profile of a service; one that the engine does not have sets nothing."""
    chosen = given.get(PROFILE_VARIABLE)
    if not chosen:
        return None
    offered = {} if variables.is_deferred(chosen) else engine.profiles.get(str(chosen), {})
    sets = {name: value for name, value in offered.items() if given.get(name, value) == value}
    overruled = {name: given[name] for name in offered if name not in sets}
    return Profile(str(chosen), sets, overruled)


def _unit(engine: str, name: str) -> str:
    return f"{engine}.service" if name == engine else f"{engine}@{name}.service"
