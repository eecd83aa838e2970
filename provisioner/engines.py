# SPDX-License-Identifier: Apache-2.0
"""Find the engines: each is one folder `roles/engine_<name>` with an `engine.yml`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from provisioner import content


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
    minimum_safe: str | None
    minimum_safe_reason: str
    reserved_args: tuple[str, ...]
    reserved_env: tuple[str, ...]

    @property
    def role(self) -> str:
        """Return the name of the engine's role."""
        return f"engine_{self.name}"


@functools.cache
def load() -> Mapping[str, Engine]:
    """Return every shipped engine by name; they are read once."""
    return {engine.name: engine for engine in map(_read, sorted(content.roles().glob("engine_*/engine.yml")))}


def _read(path: Path) -> Engine:
    document = yaml.safe_load(path.read_text())
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
    )
