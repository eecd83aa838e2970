# SPDX-License-Identifier: Apache-2.0
"""Hold the orders of the model store's jobs: the module writes them, and the jobs read them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Mapping

from ..jobs.orders import Written
from .files import SAFETENSORS, Wanted

GIBIBYTE = 1024**3


@dataclass(frozen=True)
class Orders:
    """Which model a job downloads, from where, and into which directory."""

    source: str
    model: str
    revision: str
    directory: str
    endpoint: str
    root: str = ""
    title: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
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
    reserve_bytes: int = GIBIBYTE
    # Where the job itself is, and where it writes its state.
    program: str = ""
    result: str = ""

    @classmethod
    def read(cls, spec: Mapping[str, Any]) -> Orders:
        """Return the orders in a file, which another version of this program may have written."""
        given = {one.name: spec[one.name] for one in fields(cls) if spec.get(one.name) is not None}
        lists = {key: tuple(given.get(key) or ()) for key in ("include", "exclude")}
        return cls(**{**given, **lists})

    def to_dict(self) -> dict[str, Any]:
        """Return what is written to the file."""
        return asdict(self)

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
    program: str = ""
    result: str = ""
