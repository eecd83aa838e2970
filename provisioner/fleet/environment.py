# SPDX-License-Identifier: Apache-2.0
"""Keep `serve_env` to what an engine supports; what has a typed inventory variable moves to that one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from provisioner.fleet import options, variables
from provisioner.fleet.engines import Engine, Environment
from provisioner.fleet.findings import Finding
from provisioner.fleet.variables import Variable

VARIABLE = "serve_env"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|API_KEY|ACCESS_KEY|PRIVATE_KEY)$", re.IGNORECASE)
_BY_FILE = "use serve_api_key_file or model_store_*_token_file"


@dataclass(frozen=True)
class Moved:
    """Hold the variables of one service; `spelt` maps those given in `serve_env` to their names there."""

    given: Mapping[str, Any]
    spelt: Mapping[str, str]
    findings: tuple[Finding, ...]


def move(engine: Engine, host: Mapping[str, Any], own: Mapping[str, Any], item: int | None) -> Moved:
    """Merge the variables of a host and of one of its services; those in `serve_env` as what they mean."""
    if VARIABLE in own:
        host = {name: value for name, value in host.items() if name != VARIABLE}
    shared, special = _moved(engine, host, None), _moved(engine, own, item)
    kept = {variable: name for variable, name in shared.spelt.items() if variable not in special.given}
    return Moved(
        given={**shared.given, **special.given},
        spelt={**kept, **special.spelt},
        findings=(*shared.findings, *special.findings),
    )


def _moved(engine: Engine, given: Mapping[str, Any], item: int | None) -> Moved:
    found = given.get(VARIABLE)
    if engine.environment is None or not isinstance(found, Mapping):
        return Moved(given, {}, ())
    stands_for = {
        name: engine.environment.variables[name] for name in found if name in engine.environment.variables
    }
    moved = {**given, VARIABLE: {name: value for name, value in found.items() if name not in stands_for}}
    findings = []
    for name, variable in stands_for.items():
        moved[variable], reason, hint = _typed(variables.load().variables[variable], found[name])
        if not reason and _differ(given.get(variable, moved[variable]), moved[variable]):
            reason = f"and {variable} = {given[variable]} contradict each other"
            hint = f"keep {variable} only"
        if reason:
            findings.append(Finding(VARIABLE, f"{name} = {found[name]} {reason}", hint=hint, item=item))
    spelt = {variable: name for name, variable in stands_for.items() if variable not in given}
    return Moved(moved, spelt, tuple(findings))


def _differ(first: object, second: object) -> bool:
    return first != second and not variables.is_deferred([first, second])


def _typed(variable: Variable, value: object) -> tuple[object, str, str]:
    """Return the value as its variable's type, what is wrong with it, and what may have been meant."""
    typed, reason = variables.check(variable, value)
    choices = map(str, variable.choices)
    near = variables.load().nearest(str(value), choices, 0.7) if reason and variable.choices else None
    return typed, reason or "", f"did you mean {near}?" if near else ""


def refusal(engine: Engine, name: str, value: object) -> tuple[str, str] | None:
    """Return why a variable is not allowed in `serve_env`, with a hint, or None."""
    if refused := _refused_name(engine, name):
        return refused
    if not isinstance(value, (str, int, float, bool)) and not variables.is_deferred(value):
        return f"{name} must be text or a number", ""
    if "\n" in str(value):
        return f"{name} must fit on one line", ""
    return _wrong_value(engine, name, value)


def _wrong_value(engine: Engine, name: str, value: object) -> tuple[str, str] | None:
    """Return why the engine would misread a value, or not start with it; the values of others are free."""
    release = options.of(engine.role)
    accepted = release.variables.get(name) if release else None
    if accepted is None or variables.is_deferred(value) or (reason := accepted.mistake(str(value))) is None:
        return None
    near = variables.load().nearest(str(value), accepted.choices, 0.7) if accepted.choices else None
    hint = f"did you mean {near}?" if near else ""
    if isinstance(value, bool):
        hint = f"write '{str(value).lower()}' or {int(value)}: the engine is given {value} otherwise"
    return f"{name} = {value} {reason}", hint


def _refused_name(engine: Engine, name: str) -> tuple[str, str] | None:
    known = engine.environment
    if not _NAME.fullmatch(name):
        return f"{name!r} is not a valid name of an environment variable", ""
    if known and name in known.foreign:
        return f"{name} cannot be given here", known.foreign[name]
    if name in engine.reserved_env:
        return f"{name} is set from the typed variables of {engine.title}, which would override it", ""
    if _SECRET.search(name):
        return f"{name} looks like a secret; secrets are given by file", _BY_FILE
    if known and not _is_allowed(known, name):
        return f"{name} is not a variable of {engine.title}", _meant(known, name, engine.name)
    return None


def _is_allowed(known: Environment, name: str) -> bool:
    return any(fnmatchcase(name.upper(), pattern.upper()) for pattern in known.allowed)


def _meant(known: Environment, name: str, engine: str) -> str:
    literal = [pattern for pattern in known.allowed if "*" not in pattern]
    candidates = {each.upper(): each for each in (*known.variables, *literal, *known.foreign)}
    near = candidates.get(variables.load().nearest(name.upper(), candidates) or "")
    if near is None:
        return f"`provision engines {engine}` lists the variables"
    return known.foreign.get(near) or f"did you mean {near}?"
