# SPDX-License-Identifier: Apache-2.0
"""Find the units on a host that this project wrote, by the comment in their first line."""

from __future__ import annotations

import re
from pathlib import Path

from .paths import text_of

UNITS = Path("/etc/systemd/system")
MARKER = "# Managed by provision;"
_ENGINE_LINE = re.compile(r"^\[X-Provision\]\n(?:[^\[\n].*\n|\n)*?Engine=([a-z0-9_]+)$", re.MULTILINE)
_USER_LINE = re.compile(r"^User=(\S+)$", re.MULTILINE)


def stem(unit: str) -> str:
    """Return the unit's name without its suffix, after which all its files are named."""
    return unit[: -len(".service")]


def managed() -> dict[str, str]:
    """Return the text of every managed unit of the host, by its name."""
    found = {}
    for path in sorted(UNITS.glob("*.service")):
        text = "" if path.is_symlink() else text_of(path)
        if text.startswith(MARKER):
            found[path.name] = text
    return found


def others(unit: str, user: str = "") -> list[str]:
    """Return the other managed units, only those of `user` when it is given."""
    return [
        name for name, text in managed().items() if name != unit and (not user or f"\nUser={user}\n" in text)
    ]


def services() -> list[dict[str, str]]:
    """Return each managed unit with its engine, its service's name and its user."""
    found = []
    for unit, text in managed().items():
        name = stem(unit)
        said = _ENGINE_LINE.search(text)
        # Units of early versions do not say it.
        engine = said.group(1) if said else re.split("[@-]", name)[0]
        user = _USER_LINE.search(text)
        found.append(
            {
                "unit": unit,
                "engine": engine,
                "serve_name": name[len(engine) + 1 :] if name.startswith(engine) and name != engine else name,
                "user": user.group(1) if user else engine,
            }
        )
    return found


def unnamed(units: list[str]) -> list[str]:
    """Return the managed units of the host that are not among `units`."""
    return [unit for unit in managed() if unit not in units]
