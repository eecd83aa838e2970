# SPDX-License-Identifier: Apache-2.0
"""Apply a tuning profile: words of an engine that `serve_profile` sets, below those of the inventory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from provisioner.fleet import values
from provisioner.fleet.engines import Engine

VARIABLE = "serve_profile"


@dataclass(frozen=True)
class Profile:
    """Say what a profile sets for one service, and what the inventory sets in its place."""

    name: str
    sets: Mapping[str, Any]
    overruled: Mapping[str, Any]


def choose(engine: Engine, given: Mapping[str, Any]) -> Profile | None:
    """Return the profile that the words of a service name; one that the engine lacks sets nothing."""
    name = given.get(VARIABLE)
    if not name:
        return None
    offered = {} if values.is_deferred(name) else engine.profiles.get(str(name), {})
    sets = {word: value for word, value in offered.items() if given.get(word, value) == value}
    overruled = {word: given[word] for word in offered if word not in sets}
    return Profile(str(name), sets, overruled)
