# SPDX-License-Identifier: Apache-2.0
"""Find the engines: each is one folder `roles/engine_<name>` with an `engine.yml`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioner import content, documents

# In a requirement, instead of a list of values: any value, as long as the variable is set.
ANY = "any"
_IN_CLEAR = "requests, answers and the key itself are not encrypted"
# What every engine does: answer prompts.
GENERATE = "generate"


@dataclass(frozen=True)
class Environment:
    """What `serve_env` may contain: names with their variables, allowed and refused ones."""

    variables: Mapping[str, str]
    allowed: tuple[str, ...]
    foreign: Mapping[str, str]


@dataclass(frozen=True)
class Limit:
    """Bounds for the values of one variable; `above` is a minimum that is itself too small."""

    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    meaning: str = ""


@dataclass(frozen=True)
class Library:
    """Describe where an engine fetches and keeps models itself, and what `serve_model` is there."""

    name: str
    model: Limit
    model_hint: str = ""
    revision: Limit = field(default_factory=Limit)
    revision_hint: str = ""
    revision_prefix: str = ""
    unpinned: str = ""
    refuses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Requirement:
    """What variables `must` or `never` be when others have certain values; None stands for any value."""

    when: Mapping[str, tuple[Any, ...] | None]
    must: Mapping[str, tuple[Any, ...] | None]
    never: Mapping[str, tuple[Any, ...] | None]
    reason: str


@dataclass(frozen=True)
class Note:
    """What a plan says of a service where variables have certain values; None stands for any value."""

    when: Mapping[str, tuple[Any, ...] | None]
    note: str


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
    tasks: tuple[str, ...] = (GENERATE,)
    parser: str = "exact"
    argument_hints: Mapping[str, str] = field(default_factory=dict)
    api_key: bool = True
    unguarded: str = ""
    both_families: bool = False
    key_separator: str = ""
    suggested: bool = False
    default_tag: str = ""
    library: Library | None = None
    minimum_driver: str = ""
    minimum_compute_capability: str = ""
    cuda: tuple[str, ...] = ()
    cuda_unless: Mapping[str, tuple[Any, ...] | None] = field(default_factory=dict)
    gpu_variables: Mapping[str, str] = field(default_factory=dict)
    environment: Environment | None = None
    limits: Mapping[str, Limit] = field(default_factory=dict)
    requires: tuple[Requirement, ...] = ()
    notes: tuple[Note, ...] = ()
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def role(self) -> str:
        """Return the name of the engine's role."""
        return f"engine_{self.name}"

    @property
    def reachable(self) -> str:
        """Return what clients can do at an address that others than the host can reach."""
        if not self.api_key:
            return f"{self.title} checks no API key, so everyone there can use everything"
        return f"an API key does not protect everything: {self.unguarded or _IN_CLEAR}"

    def keeps_itself(self, source: str) -> bool:
        """Return whether models of this source are fetched and kept by the engine itself."""
        return self.library is not None and self.library.name == source


@functools.cache
def load() -> Mapping[str, Engine]:
    """Return every shipped engine by name; they are read once."""
    return {engine.name: engine for engine in map(read, sorted(content.roles().glob("engine_*/engine.yml")))}


def read(path: Path) -> Engine:
    """Return the engine that one `engine.yml` describes; its folder gives the name."""
    document = documents.read(path)
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
        tasks=tuple(document.get("tasks", (GENERATE,))),
        parser=document.get("parser", "exact"),
        argument_hints=document.get("argument_hints", {}),
        api_key=document.get("api_key", True),
        both_families=document.get("both_families", False),
        key_separator=document.get("key_separator", ""),
        unguarded=document.get("unguarded", ""),
        suggested=document.get("suggested", False),
        default_tag=document.get("default_tag", ""),
        library=_library(document.get("library")),
        minimum_driver=document.get("minimum_driver", ""),
        minimum_compute_capability=document.get("minimum_compute_capability", ""),
        cuda=tuple(document.get("cuda", {}).get("versions", ())),
        cuda_unless=_among(document.get("cuda", {}).get("unless", {})),
        gpu_variables=document.get("gpu_variables", {}),
        environment=_environment(document.get("environment")),
        limits={name: Limit(**limit) for name, limit in document.get("limits", {}).items()},
        requires=tuple(map(_requirement, document.get("requires", ()))),
        notes=tuple(Note(_among(one["when"]), one["note"]) for one in document.get("notes", ())),
        profiles=document.get("profiles", {}),
    )


def _environment(given: Mapping[str, Any] | None) -> Environment | None:
    if given is None:
        return None
    return Environment(given.get("variables", {}), tuple(given.get("allowed", ())), given.get("foreign", {}))


def _library(given: Mapping[str, Any] | None) -> Library | None:
    if given is None:
        return None
    model, revision = dict(given["model"]), dict(given.get("revision", {}))
    return Library(
        name=given["name"],
        model_hint=model.pop("hint", ""),
        model=Limit(**model),
        revision_hint=revision.pop("hint", ""),
        revision_prefix=revision.pop("prefix", ""),
        unpinned=revision.pop("unpinned", ""),
        revision=Limit(**revision),
        refuses=given.get("refuses", {}),
    )


def _requirement(given: Mapping[str, Any]) -> Requirement:
    conditions = {part: _among(given.get(part, {})) for part in ("when", "must", "never")}
    return Requirement(**conditions, reason=given["reason"])


def _among(given: Mapping[str, Any]) -> dict[str, tuple[Any, ...] | None]:
    """Return which values of variables are meant, None for any."""
    return {name: None if among == ANY else tuple(among) for name, among in given.items()}
