# SPDX-License-Identifier: Apache-2.0
"""Read every variable that an inventory may set from the roles' argument specifications, and check values.

Values are checked by the same rules as at run time. No other module outside `provisioner/ansible` imports
from Ansible.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from provisioner import content, documents
from provisioner.errors import ProvisionError
from provisioner.fleet import bounds, engines, findings

_TEMPLATE = re.compile(r"\{\{|\{%")
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "path": "a path",
    "list": "a list",
    "dict": "a mapping of names to values",
}
SERVE_PREFIX = "serve_"
# How Ansible marks code, values and options in a description; here they are plain text.
_MARKUP = re.compile(r"\b[CVO]\(((?:[^()\\]|\\.)*)\)")
SOURCE = "serve_model_source"
# Set by the command line for the playbooks, so an inventory that sets one would be overruled or lie.
COMMAND_LINE_VARIABLES = ("provision_consent", "provision_deep", "provision_remove_models")


@dataclass(frozen=True)
class Variable:
    """Describe one inventory variable as its role specifies it."""

    name: str
    type: str
    elements: str | None
    choices: tuple[Any, ...]
    default: Any
    description: str
    owner: str


@dataclass(frozen=True)
class Catalog:
    """Hold all variables, and find the one that a misspelt name may mean."""

    variables: Mapping[str, Variable]
    prefixes: tuple[str, ...]
    serve_variables: frozenset[str] = field(default_factory=frozenset)

    def owns(self, name: str) -> bool:
        """Return whether `name` has a prefix of this tool, so that it must be one of its variables."""
        return name.startswith(self.prefixes)

    def nearest(self, name: str, among: Iterable[str] | None = None, cutoff: float = 0.6) -> str | None:
        """Return the variable most like `name`, or None."""
        return findings.nearest(name, among or self.variables, cutoff)

    def knobs(self, engine: str) -> dict[str, Variable]:
        """Return the variables of one engine's role."""
        return {
            name: variable
            for name, variable in self.variables.items()
            if variable.owner == f"engine_{engine}"
        }


@functools.cache
def load() -> Catalog:
    """Return the catalog of the shipped roles; it is read once."""
    serve = _variables(content.roles() / "engine_common/meta/argument_specs.yml", "service", "engine_common")
    found = dict(serve)
    names = []
    for role in sorted(path.name for path in content.roles().iterdir() if path.is_dir()):
        names.append(role)
        own = _variables(content.roles() / role / "meta/argument_specs.yml", "main", role)
        found |= {name: variable for name, variable in own.items() if name.startswith(f"{role}_")}
    found |= _variables(content.lab_variables(), "main", "lab")
    found[SOURCE] = _with_libraries(found[SOURCE])
    found = {name: one for name, one in found.items() if not name.startswith("engine_common_")}
    prefixes = (SERVE_PREFIX, "provision_", "lab_", "engine_", *(f"{name}_" for name in names))
    return Catalog(found, prefixes, frozenset(serve))


def _with_libraries(source: Variable) -> Variable:
    """Return the variable of a model's source with the libraries of engines among its choices."""
    libraries = {engine.library.name for engine in engines.load().values() if engine.library}
    return replace(source, choices=tuple(sorted({*source.choices, *libraries})))


def defaults(role: str) -> dict[str, Any]:
    """Return the public defaults of a role as they are written, templates and all."""
    path = content.roles() / role / "defaults/main.yml"
    return (documents.read(path) or {}) if path.is_file() else {}


def _variables(path: Path, entry: str, owner: str) -> dict[str, Variable]:
    try:
        document = documents.read(path)
    except (OSError, yaml.YAMLError) as error:
        raise ProvisionError(
            f"cannot read the shipped specification {path}: {error}", "install it again"
        ) from error
    options = document.get("argument_specs", {}).get(entry, {}).get("options") or {}
    return {name: _variable(name, option, owner) for name, option in options.items()}


def _variable(name: str, option: Mapping[str, Any], owner: str) -> Variable:
    description = option.get("description", "")
    text = description if isinstance(description, str) else " ".join(description)
    return Variable(
        name=name,
        type=option.get("type", "str"),
        elements=option.get("elements"),
        choices=tuple(option.get("choices", ())),
        default=option.get("default"),
        description=_MARKUP.sub(r"\1", text),
        owner=owner,
    )


def is_encrypted(value: object) -> bool:
    """Return whether the value is encrypted by Ansible's vault, as Ansible lists it."""
    return isinstance(value, Mapping) and "__ansible_vault" in value


def is_deferred(value: object) -> bool:
    """Return whether only Ansible can resolve the value: it contains a template or is encrypted."""
    if isinstance(value, str):
        return bool(_TEMPLATE.search(value))
    if isinstance(value, Mapping):
        return is_encrypted(value) or any(map(is_deferred, value.values()))
    return isinstance(value, list) and any(map(is_deferred, value))


def check(variable: Variable, value: object) -> tuple[object, str | None]:
    """Return the value as its variable's type, and what is wrong with it, or None; null unsets a variable."""
    if value is None or is_deferred(value):
        return value, None
    if variable.type == "str" and isinstance(value, (list, Mapping, bool)):
        return value, f"must be text, not {_kind_of(value)}"
    if variable.type in ("int", "float") and isinstance(value, bool):
        return value, f"must be {_KINDS[variable.type]}, not true or false"
    spec: dict[str, Any] = {"type": variable.type}
    if variable.elements:
        spec["elements"] = variable.elements
    if variable.choices:
        spec["choices"] = list(variable.choices)
    try:
        result = ArgumentSpecValidator({variable.name: spec}).validate({variable.name: value})
    except (OverflowError, ValueError):  # Ansible does not expect infinity, nor what is not a number
        return value, _reason(variable, "")
    if not result.errors.errors:
        found = result.validated_parameters[variable.name]
        reason = _beyond(variable, found)
        return (value, reason) if reason else (found, None)
    return value, _reason(variable, result.error_messages[0])


def _beyond(variable: Variable, value: object) -> str | None:
    """Return why a number is too small or too large for any variable of its kind, or None."""
    if variable.type not in ("int", "float") or not isinstance(value, (int, float)):
        return None
    # The limits of engines are in their engine.yml, and those of the port are checked with the service.
    return bounds.beyond(variable.name, value, has_own=variable.owner.startswith("engine_"))


def _reason(variable: Variable, message: str) -> str:
    if variable.choices and "must be one of" in message:
        return "must be one of " + ", ".join(map(str, variable.choices))
    kind = _KINDS.get(variable.type, variable.type)
    if variable.type == "list" and variable.elements and "Elements value" in message:
        return f"must be a list whose every item is {_KINDS.get(variable.elements, variable.elements)}"
    return f"must be {kind}"


def _kind_of(value: object) -> str:
    if isinstance(value, bool):
        return _KINDS["bool"]
    return _KINDS["list"] if isinstance(value, list) else _KINDS["dict"]
