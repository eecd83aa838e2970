# SPDX-License-Identifier: Apache-2.0
"""Turn settings into what the command of an engine takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping


class FilterModule:
    """Offer the filters to Ansible."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        """Return the filters by name."""
        return {"engine_common_arguments": arguments}


def arguments(values: Mapping[str, object]) -> list[str]:
    """Return the arguments of a command, each followed by its value; those without one are left out."""
    return [part for name, value in values.items() if value is not None for part in (name, str(value))]
