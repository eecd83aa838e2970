# SPDX-License-Identifier: Apache-2.0
"""What is wrong with one variable of an inventory, before it is known where it was set."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One mistake in a value; `item` is the number of the service in the list, if it is from there."""

    variable: str
    reason: str
    value: object = None
    has_value: bool = False
    hint: str = ""
    item: int | None = None


def of_variable(given: Mapping[str, Any], name: str, reason: str, hint: str) -> Finding:
    """Return what is wrong with one of the given variables, with its value."""
    return Finding(name, reason, given[name], True, hint)


def nearest(name: str, among: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the one of some names that `name` was probably meant to be, or None."""
    found = difflib.get_close_matches(name, list(among), n=1, cutoff=cutoff)
    return found[0] if found else None
