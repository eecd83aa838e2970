# SPDX-License-Identifier: Apache-2.0
"""Check the typed variables of an engine beyond their types: limits, combinations and profiles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from provisioner.fleet import environment, services, variables
from provisioner.fleet.engines import Limit, Requirement
from provisioner.fleet.findings import Finding
from provisioner.fleet.services import Service

_UNSET: tuple[object, ...] = (None, "", [], {})


def limits(service: Service) -> Iterator[Finding]:
    """Find the variables whose values the engine does not accept."""
    for variable, limit in service.engine.limits.items():
        value = service.settings.get(variable)
        if reason := beyond(limit, value):
            yield _finding(service, variable, reason)


def beyond(limit: Limit, value: object) -> str | None:
    """Return why a value, or an item of a list, is outside of its limit, or None."""
    if value in _UNSET or variables.is_deferred(value):
        return None
    if isinstance(value, list):
        return next(filter(None, (beyond(limit, item) for item in value)), None)
    return None if _is_within(limit, value) else f"must be {limit.meaning or _bounds(limit)}"


def requirements(service: Service) -> Iterator[Finding]:
    """Find the variables whose values contradict those of others."""
    for requirement in service.engine.requires:
        involved = (*requirement.when, *requirement.must, *requirement.never)
        if any(variables.is_deferred(service.settings.get(variable)) for variable in involved):
            continue
        for variable in _contradictions(requirement, service.settings):
            yield _contradiction(service, variable, requirement)


def notes(service: Service) -> Iterator[str]:
    """Yield what the engine wants said about the values of a service."""
    for note in service.engine.notes:
        values = {variable: service.settings.get(variable) for variable in note.when}
        known = not variables.is_deferred(list(values.values()))
        if known and all(_is_among(values[variable], among) for variable, among in note.when.items()):
            yield f"{service.unit} {note.note}"


def profile(service: Service) -> Iterator[Finding]:
    """Find a profile that the engine does not have."""
    chosen, offered = service.profile, service.engine.profiles
    # A name that no profile has is already reported as a wrong value.
    known = variables.load().variables[services.PROFILE_VARIABLE].choices
    if chosen and chosen.name in known and chosen.name not in offered:
        title = service.engine.title
        reason = f"is not a profile of {title}" if offered else f"cannot be set: {title} has no profiles"
        hint = (
            f"it has {', '.join(offered)}" if offered else "remove it, and set the engine's variables instead"
        )
        yield Finding(services.PROFILE_VARIABLE, reason, chosen.name, True, hint, service.item)


def _is_within(limit: Limit, value: Any) -> bool:
    if limit.pattern is not None:
        return re.fullmatch(limit.pattern, str(value)) is not None
    if not isinstance(value, (int, float)):
        return True  # its type has been reported already
    return (
        (limit.minimum is None or value >= limit.minimum)
        and (limit.above is None or value > limit.above)
        and (limit.maximum is None or value <= limit.maximum)
    )


def _bounds(limit: Limit) -> str:
    if limit.pattern is not None:
        return f"of the form {limit.pattern}"
    if limit.minimum is not None and limit.maximum is not None:
        return f"between {limit.minimum} and {limit.maximum}"
    parts = {"at least": limit.minimum, "above": limit.above, "at most": limit.maximum}
    return " and ".join(f"{name} {bound}" for name, bound in parts.items() if bound is not None)


def _contradictions(requirement: Requirement, settings: Mapping[str, Any]) -> list[str]:
    def holds(variable: str, among: tuple[Any, ...] | None) -> bool:
        return _is_among(settings.get(variable), among)

    if not all(holds(variable, among) for variable, among in requirement.when.items()):
        return []
    wrong = [variable for variable, among in requirement.must.items() if not holds(variable, among)]
    return wrong + [variable for variable, among in requirement.never.items() if holds(variable, among)]


def _is_among(value: object, among: tuple[Any, ...] | None) -> bool:
    value = None if value in _UNSET else value
    if among is None:
        return value is not None
    # In Python, false equals 0 and true equals 1.
    return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in among)


def _contradiction(service: Service, variable: str, requirement: Requirement) -> Finding:
    involved = (variable, *requirement.when)
    # Only what is in the inventory can be corrected there.
    blamed = next((name for name in involved if name in service.own), variable)
    others = [f"{name} = {_shown(service.settings.get(name))}" for name in involved if name != blamed]
    return _finding(service, blamed, f"cannot be combined with {' and '.join(others)}: {requirement.reason}")


def _finding(service: Service, variable: str, reason: str) -> Finding:
    """Return the finding under the name by which the inventory gave the value."""
    value = service.settings.get(variable)
    if variable in service.spelt:
        return Finding(
            environment.VARIABLE, f"{service.spelt[variable]} = {_shown(value)} {reason}", item=service.item
        )
    return Finding(variable, reason, value, value is not None, item=service.item)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "unset" if value in _UNSET else str(value)
