# SPDX-License-Identifier: Apache-2.0
"""Find numbers that Ansible read where a text is wanted, and that lost digits: 3.10 becomes 3.1."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping

import yaml

from provisioner.fleet import variables
from provisioner.fleet.findings import Finding
from provisioner.fleet.variables import Variable

_NUMBER = re.compile(r"[+-]?[\w.][\w.:+-]*")
_TEXTS = ("str", "path")


def numbers(variable: Variable, value: object) -> Iterator[object]:
    """Yield the numbers in a value that should be texts; those in services as well."""
    catalog = variables.load()
    if _is_number(value) and variable.type in _TEXTS:
        yield value
    for item in value if isinstance(value, list) else ():
        if isinstance(item, Mapping):
            for name, own in item.items():
                if name in catalog.variables:
                    yield from numbers(catalog.variables[name], own)
        elif _is_number(item) and variable.elements in _TEXTS:
            yield item


def lost(number: object, texts: Iterable[str]) -> str | None:
    """Return how a number was written in `texts` if it is shown otherwise; None if nothing was lost.

    Empty if that is unknown, but a fraction is read: its last zeros may be gone.
    """
    spelt = [token for text in texts for token in _NUMBER.findall(text) if _means(token, number)]
    if str(number) in spelt:
        return None
    return spelt[0] if spelt else "" if isinstance(number, float) else None


def finding(variable: str, number: object, spelt: str, *, in_host_line: bool) -> Finding:
    """Return what is wrong with a number that lost digits; only its value may have to be hidden."""
    quotes = f"""in quotes twice, as in {variable}="'…'\"""" if in_host_line else "in quotes"
    reason = "must be text, but Ansible reads it as a number and drops digits"
    return Finding(variable, reason, spelt or number, True, f"put it {quotes}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _means(token: str, number: object) -> bool:
    """Return whether INI or YAML reads a token as this number."""
    return any(not isinstance(read, bool) and read == number for read in _readings(token))


def _readings(token: str) -> Iterator[object]:
    for read in (ast.literal_eval, yaml.safe_load):
        with contextlib.suppress(ValueError, SyntaxError, yaml.YAMLError):
            yield read(token)
