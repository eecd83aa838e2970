# SPDX-License-Identifier: Apache-2.0
"""Hold the orders of the jobs of Ollama's models: the module writes them, and the jobs read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.provision.jobs.orders import Written


@dataclass(frozen=True)
class Orders(Written):
    """What a job that pulls and creates one service's models starts from."""

    title: str
    root: str
    binary: str
    registry: str
    # The models as `asdict` writes them, what the record says of each, and the stamps of checked blobs.
    models: list[dict[str, Any]]
    entries: dict[str, Any]
    stamps: dict[str, Any]
    # Prepared files by their source, and of each directory that some are linked from, the right files.
    staged: dict[str, str] = field(default_factory=dict)
    linked: dict[str, list[str]] = field(default_factory=dict)
    limits: dict[str, object] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    attempts: int = 5
    stall_seconds: float = 90
    reserve_bytes: int = 1024**3


@dataclass(frozen=True)
class NamedOrders(Written):
    """Which models of a directory a job hashes or removes; by `run` the outcome is recognised."""

    title: str
    root: str
    names: list[str]
    run: str = ""
