# SPDX-License-Identifier: Apache-2.0
"""Check one value against the variable that it is set for, by the same rules as Ansible at run time.

The only module outside `provisioner/ansible` that imports from Ansible.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from provisioner.fleet.variables import Variable

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


def is_deferred(value: object) -> bool:
    """Return whether only Ansible can resolve the value: it contains a template or is encrypted."""
    if isinstance(value, str):
        return bool(_TEMPLATE.search(value))
    if isinstance(value, Mapping):
        return "__ansible_vault" in value or any(map(is_deferred, value.values()))
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
    except OverflowError:  # infinity is not a whole number, which Ansible does not expect
        return value, _reason(variable, "")
    if not result.errors.errors:
        return result.validated_parameters[variable.name], None
    return value, _reason(variable, result.error_messages[0])


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
