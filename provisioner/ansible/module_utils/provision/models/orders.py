# SPDX-License-Identifier: Apache-2.0
"""Hold the orders of the model store's jobs: the module writes them, and the jobs read them."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..jobs.orders import Written
from .files import SAFETENSORS, Wanted


@dataclass(frozen=True)
class Orders(Written):
    """Which model a job downloads, from where, and into which directory."""

    source: str
    model: str
    revision: str
    directory: str
    endpoint: str
    root: str = ""
    title: str = ""
    include: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    allow_unsafe: bool = False
    format: str = SAFETENSORS
    token_file: str = ""
    # The Python that has the hubs' clients, and where these keep notes.
    client_python: str = ""
    cache: str = ""
    workers: int = 4
    streams: int = 4
    attempts: int = 5
    stall_seconds: int = 60
    reserve_bytes: int = 1024**3
    # Where the job's program is, which is the hubs' client as well.
    program: str = ""

    @property
    def wanted(self) -> Wanted:
        """Return the requested model and its files."""
        return Wanted.of(self.to_dict())


@dataclass(frozen=True)
class CheckOrders(Written):
    """Which directories a job reads and compares with their manifests, in which run."""

    directories: list[str]
    run: str
    title: str = "Hash the models"
