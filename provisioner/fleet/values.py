# SPDX-License-Identifier: Apache-2.0
"""Check one value against the word it was given for, by the same rules as Ansible at run time.

The only module outside `provisioner/ansible` that imports from Ansible.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from provisioner.fleet.variables import Word

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
    """Tell whether only Ansible can know the value: it holds a template or is encrypted."""
    if isinstance(value, str):
        return bool(_TEMPLATE.search(value))
    if isinstance(value, Mapping):
        return "__ansible_vault" in value or any(map(is_deferred, value.values()))
    return isinstance(value, list) and any(map(is_deferred, value))


def check(word: Word, value: object) -> tuple[object, str | None]:
    """Return the value as the type of its word, and why it is not acceptable, or None; null unsets a word."""
    if value is None or is_deferred(value):
        return value, None
    if word.type == "str" and isinstance(value, (list, Mapping, bool)):
        return value, f"must be text, not {_kind_of(value)}"
    if word.type in ("int", "float") and isinstance(value, bool):
        return value, f"must be {_KINDS[word.type]}, not true or false"
    spec: dict[str, Any] = {"type": word.type}
    if word.elements:
        spec["elements"] = word.elements
    if word.choices:
        spec["choices"] = list(word.choices)
    try:
        result = ArgumentSpecValidator({word.name: spec}).validate({word.name: value})
    except OverflowError:  # infinity is no whole number, which Ansible does not expect
        return value, _reason(word, "")
    if not result.errors.errors:
        return result.validated_parameters[word.name], None
    return value, _reason(word, result.error_messages[0])


def _reason(word: Word, message: str) -> str:
    if word.choices and "must be one of" in message:
        return "must be one of " + ", ".join(map(str, word.choices))
    kind = _KINDS.get(word.type, word.type)
    if word.type == "list" and word.elements and "Elements value" in message:
        return f"must be a list whose every item is {_KINDS.get(word.elements, word.elements)}"
    return f"must be {kind}"


def _kind_of(value: object) -> str:
    if isinstance(value, bool):
        return _KINDS["bool"]
    return _KINDS["list"] if isinstance(value, list) else _KINDS["dict"]
