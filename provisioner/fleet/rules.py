# SPDX-License-Identifier: Apache-2.0
"""Check that the variables of a service, and the services of a host, fit together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from provisioner import versions
from provisioner.fleet import (
    addresses,
    arguments,
    environment,
    files,
    gpus,
    knobs,
    models,
    services,
    tasks,
    variables,
)
from provisioner.fleet.engines import Library
from provisioner.fleet.files import Unlock
from provisioner.fleet.findings import Finding
from provisioner.fleet.gpus import Present
from provisioner.fleet.services import Resolved, Service

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def resolve(
    own: Mapping[str, Any],
    defaults: Mapping[str, Mapping[str, Any]],
    folder: Path,
    present: Present | None = None,
    unlock: Unlock | None = None,
) -> Resolved:
    """Return the services that a host's variables describe, and everything that is wrong with them.

    Without `present`, the GPUs that the inventory expects are assumed. Without a way to `unlock`
    them, encrypted files are not looked into.
    """
    found = services.resolve(own, defaults)
    there = present or gpus.expected(own)
    return Resolved(found.services, (*found.findings, *check(found.services, folder, there, unlock)))


def check(
    found: Sequence[Service], folder: Path, present: Present | None, unlock: Unlock | None
) -> list[Finding]:
    """Return what is wrong with each service and with all of them together on one host."""
    findings = [finding for service in found for rule in _SERVICE_RULES for finding in rule(service)]
    findings += [finding for service in found for finding in files.key(service, folder, unlock)]
    findings += [finding for service in found for finding in gpus.check(service, present)]
    for first, second in combinations(found, 2):
        findings += _pair(first, second)
    return findings


def _name(service: Service) -> Iterator[Finding]:
    if not variables.is_deferred(service.name) and not _NAME.fullmatch(service.name):
        reason = "must be 1 to 31 of a-z, 0-9 and '-', because it becomes the name of a systemd unit"
        yield _finding(service, "serve_name", reason, service.name)


def _port(service: Service) -> Iterator[Finding]:
    if service.port is not None and not 1024 <= service.port <= 65535:
        reason = "must be between 1024 and 65535: the engine does not run as root"
        yield _finding(service, "serve_port", reason, service.port)


def _address(service: Service) -> Iterator[Finding]:
    is_known = not variables.is_deferred(service.settings["serve_address"])
    if is_known and (wrong := addresses.mistake(service.address)):
        reason, hint = wrong
        yield _finding(service, "serve_address", reason, service.address, hint)


def _reach(service: Service) -> Iterator[Finding]:
    """Find a service that others than its host can reach, unless serve_expose allows it."""
    address, wanted = service.address, service.settings["serve_expose"]
    if variables.is_deferred([address, wanted]) or addresses.mistake(address):
        return
    if addresses.is_loopback(address) or wanted:
        return
    reason = f"opens {service.unit} to the network: {service.engine.reachable}"
    hint = "write serve_expose: everything beside it to allow that, or remove serve_address to listen on the "
    yield _finding(service, "serve_address", reason, address, f"{hint}host itself only, behind a gateway")


def _source(service: Service) -> Iterator[Finding]:
    source, engine = service.model.source, service.engine
    # A source that is not a choice of the variable has already been reported as a wrong value.
    if source in variables.load().variables["serve_model_source"].choices and source not in engine.sources:
        reason = f"must be one of {', '.join(engine.sources)} for {engine.title}"
        yield _finding(service, "serve_model_source", reason, source)


def _format(service: Service) -> Iterator[Finding]:
    name, engine = service.model.name, service.engine
    asks_for_gguf = re.search(r"gguf$", name, re.IGNORECASE) or any(
        map(models.is_gguf_file, service.model.include)
    )
    if asks_for_gguf and models.GGUF not in engine.formats:
        reason = f"is in the GGUF format, but {engine.title} serves {', '.join(engine.formats)}"
        yield _finding(
            service, "serve_model", reason, name, hint="use the repository with the original weights"
        )


def _model_name(service: Service) -> Iterator[Finding]:
    source, name = service.model.source, service.model.name
    if variables.is_deferred(name) or variables.is_deferred(source):
        return
    if source == "path" and not name.startswith("/"):
        yield _finding(
            service, "serve_model", "must be an absolute path on the host when its source is path", name
        )
    if source in ("huggingface", "modelscope") and not _REPOSITORY.fullmatch(name):
        hint = "such as Qwen/Qwen3-8B"
        if name.startswith("/"):
            hint = "set serve_model_source: path for a folder on the host"
        yield _finding(service, "serve_model", f"must be owner/name, as {source} writes it", name, hint=hint)
    library = service.engine.library
    if library and service.model.kept_by_engine:
        yield from _library_model(service, library)


def _library_model(service: Service, library: Library) -> Iterator[Finding]:
    """Check a model that the engine itself downloads, with the rules in its engine.yml."""
    name, revision = service.model.name, service.model.revision
    if reason := knobs.beyond(library.model, name):
        yield _finding(service, "serve_model", reason, name, hint=library.model_hint)
    if reason := knobs.beyond(library.revision, revision):
        yield _finding(service, "serve_model_revision", reason, revision, hint=library.revision_hint)
    for variable, reason in library.refuses.items():
        if service.settings.get(variable):
            yield _finding(service, variable, reason)


def _environment(service: Service) -> Iterator[Finding]:
    given = service.settings["serve_env"]
    if not isinstance(given, dict) or "__ansible_vault" in given:
        return
    for name, value in given.items():
        if refused := environment.refusal(service.engine, str(name), value):
            reason, hint = refused
            yield _finding(service, environment.VARIABLE, reason, hint=hint)


def _version(service: Service) -> Iterator[Finding]:
    floor = service.engine.minimum_safe
    for name, value in service.settings.items():
        is_version = name.startswith(f"{service.engine.role}_") and name.endswith("version")
        if not floor or not is_version or not value or variables.is_deferred(value):
            continue
        try:
            if versions.parse(value) < versions.parse(floor):
                reason = f"is below {floor}, the oldest safe version: {service.engine.minimum_safe_reason}"
                yield _finding(service, name, reason, value, hint=f"set it to {floor} or newer")
        except versions.InvalidVersion:
            yield _finding(service, name, "must be a version such as " + floor, value)


def _no_key(service: Service) -> Iterator[Finding]:
    given = service.settings.get("serve_api_key_file")
    if given and not service.engine.api_key:
        reason = f"cannot be set: {service.engine.title} does not support API keys"
        hint = "remove it, and put a gateway that checks keys in front"
        yield _finding(service, "serve_api_key_file", reason, given, hint=hint)


def _pair(first: Service, second: Service) -> Iterator[Finding]:
    both = f"services {first.name} and {second.name}"
    if first.unit == second.unit:
        reason = f"is used by two services of one host, and both would be {first.unit}"
        yield _finding(second, "serve_name", reason, second.name, hint="give each service its own serve_name")
    same_port = first.port is not None and first.port == second.port
    if same_port and addresses.overlap(first.address, second.address):
        yield _finding(second, "serve_port", f"is used by {both} of one host", second.port)
    shared = sorted(set(first.gpus) & set(second.gpus))
    if shared:
        yield _finding(
            second, "serve_gpus", f"GPU {', '.join(shared)} is used by {both} of one host", list(second.gpus)
        )


def _finding(service: Service, variable: str, reason: str, value: object = None, hint: str = "") -> Finding:
    return Finding(variable, reason, value, value is not None, hint, service.item)


_SERVICE_RULES: tuple[Callable[[Service], Iterator[Finding]], ...] = (
    _name,
    _address,
    _reach,
    _port,
    _source,
    _format,
    _model_name,
    _environment,
    arguments.check,
    _version,
    _no_key,
    tasks.check,
    knobs.limits,
    knobs.requirements,
    knobs.profile,
)
