# SPDX-License-Identifier: Apache-2.0
"""Write values as Ollama reads and reports them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

UNITS = {"s": 1, "m": 60, "h": 3600, "": 1}
# Go's longest duration, which is how Ollama reports a negative keep-alive.
FOREVER = "2562047h47m16.854775807s"


class FilterModule:
    """Offer the filters to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"engine_ollama_duration": duration, "engine_ollama_environment": environment}


def duration(given: object) -> str | None:
    """Return a duration as Go formats it, such as 1m30s of 90; None if unset or made of several parts."""
    text = "" if given is None else str(given)
    if text.startswith("-"):
        return FOREVER
    found = re.fullmatch(r"([0-9]+)([smh]?)", text)
    if not found:
        return None
    minutes, seconds = divmod(int(found.group(1)) * UNITS[found.group(2)], 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}s" if hours else f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def environment(variables: Mapping[str, str], service: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables that the service sets; empty ones are left to Ollama."""
    return {
        name: _written(service[variable])
        for name, variable in variables.items()
        if service[variable] not in (None, "", [])
    }


def _written(value: object) -> str:
    """Return a value as Go reads it; as booleans it always accepts 1 and 0."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
