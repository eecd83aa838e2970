# SPDX-License-Identifier: Apache-2.0
"""Orders that a module writes to a file, and jobs that work by them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Callable, Mapping, TypeVar

from .progress import Progress

Kind = TypeVar("Kind", bound="Written")


@dataclass(frozen=True)
class Written:
    """Orders whose fields are plain values of JSON."""

    @classmethod
    def read(cls: type[Kind], spec: Mapping[str, Any]) -> Kind:  # noqa: PYI019 - Self needs Python 3.11
        """Return the orders in a file, which another version of this program may have written."""
        return cls(**{one.name: spec[one.name] for one in fields(cls) if one.name in spec})

    def to_dict(self) -> dict[str, Any]:
        """Return what is written to the file."""
        return asdict(self)


def job_of(
    kind: type[Kind], work: Callable[[Kind, Progress], dict[str, Any]], *about: str
) -> Callable[[dict[str, Any]], None]:
    """Return a job that works by orders of a kind, and reports its progress and its outcome.

    What it is `about`, values of the orders, is in all its reports: by it, the module recognises them.
    """

    def job(spec: dict[str, Any]) -> None:
        known = {name: spec[name] for name in about}
        with Progress(Path(spec["result"]), spec["title"], known) as progress:
            progress.finish(**work(kind.read(spec), progress))

    return job
