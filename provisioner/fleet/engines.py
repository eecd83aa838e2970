# SPDX-License-Identifier: Apache-2.0
"""Find the engines: each is one folder `roles/engine_<name>` with an `engine.yml`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from provisioner import content

# In a requirement, in place of a list of values: any value, as long as the word is set.
ANY = "any"


@dataclass(frozen=True)
class Environment:
    """Say what `serve_env` may hold: names with their words, allowed ones, and refused ones with a hint."""

    words: Mapping[str, str]
    allowed: tuple[str, ...]
    foreign: Mapping[str, str]


@dataclass(frozen=True)
class Limit:
    """Bound the values of one word; `above` is a minimum that is itself too small."""

    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    meaning: str = ""


@dataclass(frozen=True)
class Requirement:
    """Say what words `must` or `never` be when others have certain values; None stands for any value."""

    when: Mapping[str, tuple[Any, ...] | None]
    must: Mapping[str, tuple[Any, ...] | None]
    never: Mapping[str, tuple[Any, ...] | None]
    reason: str


@dataclass(frozen=True)
class Engine:
    """Describe an inference engine as its `engine.yml` does."""

    name: str
    title: str
    port: int
    health_path: str
    api: str
    formats: tuple[str, ...]
    sources: tuple[str, ...]
    devices: tuple[str, ...]
    minimum_safe: str | None = None
    minimum_safe_reason: str = ""
    reserved_args: tuple[str, ...] = ()
    reserved_env: tuple[str, ...] = ()
    api_key: bool = True
    minimum_driver: str = ""
    minimum_compute_capability: str = ""
    cuda: tuple[str, ...] = ()
    cuda_unless: Mapping[str, tuple[Any, ...] | None] = field(default_factory=dict)
    environment: Environment | None = None
    limits: Mapping[str, Limit] = field(default_factory=dict)
    requires: tuple[Requirement, ...] = ()
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def role(self) -> str:
        """Return the name of the engine's role."""
        return f"engine_{self.name}"


@functools.cache
def load() -> Mapping[str, Engine]:
    """Return every shipped engine by name; they are read once."""
    return {engine.name: engine for engine in map(read, sorted(content.roles().glob("engine_*/engine.yml")))}


def read(path: Path) -> Engine:
    """Return the engine that one `engine.yml` describes; its folder gives the name."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    versions = document.get("versions", {})
    return Engine(
        name=path.parent.name.removeprefix("engine_"),
        title=document["title"],
        port=document["port"],
        health_path=document["health_path"],
        api=document["api"],
        formats=tuple(document["formats"]),
        sources=tuple(document["sources"]),
        devices=tuple(document["devices"]),
        minimum_safe=versions.get("minimum_safe"),
        minimum_safe_reason=versions.get("reason", ""),
        reserved_args=tuple(document.get("reserved_args", ())),
        reserved_env=tuple(document.get("reserved_env", ())),
        api_key=document.get("api_key", True),
        minimum_driver=document.get("minimum_driver", ""),
        minimum_compute_capability=document.get("minimum_compute_capability", ""),
        cuda=tuple(document.get("cuda", {}).get("versions", ())),
        cuda_unless=_among(document.get("cuda", {}).get("unless", {})),
        environment=_environment(document.get("environment")),
        limits={name: Limit(**limit) for name, limit in document.get("limits", {}).items()},
        requires=tuple(map(_requirement, document.get("requires", ()))),
        profiles=document.get("profiles", {}),
    )


def _environment(given: Mapping[str, Any] | None) -> Environment | None:
    if given is None:
        return None
    return Environment(given.get("words", {}), tuple(given.get("allowed", ())), given.get("foreign", {}))


def _requirement(given: Mapping[str, Any]) -> Requirement:
    conditions = {part: _among(given.get(part, {})) for part in ("when", "must", "never")}
    return Requirement(**conditions, reason=given["reason"])


def _among(given: Mapping[str, Any]) -> dict[str, tuple[Any, ...] | None]:
    """Return which values of words are meant, None for any."""
    return {name: None if among == ANY else tuple(among) for name, among in given.items()}
