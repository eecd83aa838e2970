# SPDX-License-Identifier: Apache-2.0
"""Know what the server of an engine accepts, from a file that is made from its pinned release."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from provisioner import content

_NUMBERS = {
    "int": (r"[-+]?[0-9]+", "a whole number"),
    "float": (r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", "a number"),
    # A program in C reads up to the first character that does not fit: of 2k and 2e3, it reads 2.
    "number": (r"[-+]?[0-9]+(\.[0-9]+)?", "a number, written with digits alone"),
    "switch": ("1|0|true|false|on|off|enabled|disabled", "1 or 0"),
}
_SHOWN = 8


@dataclass(frozen=True)
class Accepted:
    """What values an option or an environment variable may have; without a type and choices, any."""

    type: str = ""
    choices: tuple[str, ...] = ()
    any_case: bool = False

    def mistake(self, value: str) -> str | None:
        """Return why a value is not accepted, or None."""
        if self.choices:
            given, known = value, self.choices
            if self.any_case:
                given, known = value.lower(), tuple(map(str.lower, known))
            return None if given in known else f"must be {self._listed()}"
        pattern, meaning = _NUMBERS.get(self.type, (".*", ""))
        return None if re.fullmatch(pattern, value, re.DOTALL) else f"must be {meaning}"

    def _listed(self) -> str:
        more = len(self.choices) - _SHOWN
        return f"one of {', '.join(self.choices[:_SHOWN])}" + f" and {more} more" * (more > 0)


@dataclass(frozen=True)
class Option:
    """One option: its names, and how many values follow it, as argparse writes that."""

    names: tuple[str, ...]
    values: int | str = 1
    accepts: Accepted = field(default_factory=Accepted)
    repeats: bool = False


@dataclass(frozen=True)
class Options:
    """The options and environment variables of one release."""

    version: str
    options: tuple[Option, ...]
    variables: Mapping[str, Accepted]

    def named(self) -> dict[str, Option]:
        """Return the option that each name stands for."""
        return {name: option for option in self.options for name in option.names}


@functools.cache
def of(role: str) -> Options | None:
    """Return what the shipped release of an engine accepts; None where no file says so."""
    path = next((content.roles() / role / "files").glob("options-*.json"), None)
    if path is None:
        return None
    document = json.loads(path.read_text(encoding="utf-8"))
    return Options(
        version=document["version"],
        options=tuple(map(_option, document["options"])),
        variables={name: _accepted(one) for name, one in document["variables"].items()},
    )


def _option(given: Mapping[str, Any]) -> Option:
    return Option(tuple(given["names"]), given["values"], _accepted(given), given.get("repeats", False))


def _accepted(given: Mapping[str, Any]) -> Accepted:
    choices = tuple(given.get("choices", ()))
    return Accepted(given.get("type", ""), choices, any_case=given.get("any_case", False))
