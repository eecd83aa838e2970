# SPDX-License-Identifier: Apache-2.0
"""Apply a tuning profile: variables of an engine that `serve_profile` sets, overridden by the inventory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from provisioner.fleet import values
from provisioner.fleet.engines import Engine

VARIABLE = "serve_profile"


@dataclass(frozen=True)
class Profile:
    """What a profile sets for one service, and what the inventory overrides."""

    name: str
    sets: Mapping[str, Any]
    overruled: Mapping[str, Any]


def choose(engine: Engine, given: Mapping[str, Any]) -> Profile | None:
    """Return the profile of a service; one that the engine does not have sets nothing."""
    chosen = given.get(VARIABLE)
    if not chosen:
        return None
    offered = {} if values.is_deferred(chosen) else engine.profiles.get(str(chosen), {})
    sets = {name: value for name, value in offered.items() if given.get(name, value) == value}
    overruled = {name: given[name] for name in offered if name not in sets}
    return Profile(str(chosen), sets, overruled)
