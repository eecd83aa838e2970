# SPDX-License-Identifier: Apache-2.0
"""Keep `serve_env` to what an engine knows: variables of typed words move to these, others are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from provisioner.fleet import values, variables
from provisioner.fleet.engines import Engine, Environment
from provisioner.fleet.findings import Finding
from provisioner.fleet.variables import Word

VARIABLE = "serve_env"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|API_KEY|ACCESS_KEY|PRIVATE_KEY)$", re.IGNORECASE)
_BY_FILE = "use serve_api_key_file or model_store_*_token_file"


@dataclass(frozen=True)
class Moved:
    """Hold the words of one service; `spelt` names the variable of each that was given by its variable."""

    given: Mapping[str, Any]
    spelt: Mapping[str, str]
    findings: tuple[Finding, ...]


def move(engine: Engine, host: Mapping[str, Any], own: Mapping[str, Any], item: int | None) -> Moved:
    """Return the words of a host and of one of its services as one, with variables as the words they mean."""
    if VARIABLE in own:
        host = {name: value for name, value in host.items() if name != VARIABLE}
    shared, special = _moved(engine, host, None), _moved(engine, own, item)
    kept = {word: name for word, name in shared.spelt.items() if word not in special.given}
    return Moved(
        given={**shared.given, **special.given},
        spelt={**kept, **special.spelt},
        findings=(*shared.findings, *special.findings),
    )


def _moved(engine: Engine, given: Mapping[str, Any], item: int | None) -> Moved:
    found = given.get(VARIABLE)
    if engine.environment is None or not isinstance(found, Mapping):
        return Moved(given, {}, ())
    stands_for = {name: engine.environment.words[name] for name in found if name in engine.environment.words}
    moved = {**given, VARIABLE: {name: value for name, value in found.items() if name not in stands_for}}
    findings = []
    for name, word in stands_for.items():
        moved[word], reason, hint = _typed(variables.load().words[word], found[name])
        if not reason and _differ(given.get(word, moved[word]), moved[word]):
            reason, hint = f"and {word} = {given[word]} say different things", f"keep {word} alone"
        if reason:
            findings.append(Finding(VARIABLE, f"{name} = {found[name]} {reason}", hint=hint, item=item))
    spelt = {word: name for name, word in stands_for.items() if word not in given}
    return Moved(moved, spelt, tuple(findings))


def _differ(first: object, second: object) -> bool:
    return first != second and not values.is_deferred([first, second])


def _typed(word: Word, value: object) -> tuple[object, str, str]:
    """Return the value as its word's type, what is wrong with it, and what may have been meant."""
    typed, reason = values.check(word, value)
    near = (
        variables.load().nearest(str(value), map(str, word.choices), 0.7) if reason and word.choices else None
    )
    return typed, reason or "", f"did you mean {near}?" if near else ""


def refusal(engine: Engine, name: str, value: object) -> tuple[str, str] | None:
    """Return why a variable may not stand in `serve_env`, with a hint, or None when it may."""
    if refused := _refused_name(engine, name):
        return refused
    if not isinstance(value, (str, int, float, bool)) and not values.is_deferred(value):
        return f"{name} must be text or a number", ""
    return (f"{name} must fit on one line", "") if "\n" in str(value) else None


def _refused_name(engine: Engine, name: str) -> tuple[str, str] | None:
    known = engine.environment
    if not _NAME.fullmatch(name):
        return f"{name!r} is not a name that an environment variable can have", ""
    if known and name in known.foreign:
        return f"{name} cannot be given here", known.foreign[name]
    if name in engine.reserved_env:
        return f"{name} is set by the typed words of {engine.title}, which would overrule it", ""
    if _SECRET.search(name):
        return f"{name} looks like a secret, and secrets go by file", _BY_FILE
    if known and not _is_allowed(known, name):
        return f"{name} is not a variable that {engine.title} knows", _meant(known, name, engine.name)
    return None


def _is_allowed(known: Environment, name: str) -> bool:
    return any(fnmatchcase(name.upper(), pattern.upper()) for pattern in known.allowed)


def _meant(known: Environment, name: str, engine: str) -> str:
    literal = [pattern for pattern in known.allowed if "*" not in pattern]
    candidates = {each.upper(): each for each in (*known.words, *literal, *known.foreign)}
    near = candidates.get(variables.load().nearest(name.upper(), candidates) or "")
    if near is None:
        return f"`provision engines {engine}` lists the words"
    return known.foreign.get(near) or f"did you mean {near}?"
