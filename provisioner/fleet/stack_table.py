# SPDX-License-Identifier: Apache-2.0
"""Read the table of compatible drivers, CUDA releases and GPUs. The role cuda_toolkit reads the same file."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from provisioner import content, documents
from provisioner.versions import Version


@dataclass(frozen=True)
class Reason:
    """One fact on which a verdict rests, and its source."""

    statement: str
    source: str


@dataclass(frozen=True)
class Major:
    """What every CUDA of one major version needs."""

    name: str
    driver: str
    drops: tuple[str, ...]
    driver_source: str
    drops_source: str

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Return the facts of this row."""
        return (
            Reason(f"CUDA {self.name} needs driver {self.driver} or newer", self.driver_source),
            Reason(f"CUDA {self.name} compiles nothing for {', '.join(self.drops)}", self.drops_source),
        )


@dataclass(frozen=True)
class Table:
    """The whole table."""

    majors: Mapping[str, Major]
    releases: Mapping[str, Reason]
    drivers: Mapping[str, str]
    open_first: Reason
    open_since: int
    open_default_since: int
    proprietary_last: Reason
    proprietary_until: int

    def major(self, version: str) -> Major | None:
        """Return what is known about the major version of a version."""
        return self.majors.get(version.partition(".")[0])

    @property
    def oldest(self) -> Major:
        """Return the oldest CUDA that is known."""
        return min(self.majors.values(), key=lambda one: Version(one.name))


@functools.cache
def load() -> Table:
    """Return the shipped table; it is read once."""
    document: Mapping[str, Any] = documents.read(content.roles() / "cuda_toolkit/files/compatibility.yml")
    releases, modules = document["releases"], document["modules"]
    first, last = modules["open"]["first"], modules["proprietary"]["last"]
    return Table(
        majors={
            name: Major(name, row["driver"], tuple(row["drops"]), row["driver_source"], row["drops_source"])
            for name, row in document["majors"].items()
        },
        releases={
            name: Reason(f"CUDA {name} was made with driver {row['driver']}", row["source"])
            for name, row in releases.items()
        },
        drivers={name: row["driver"] for name, row in releases.items()},
        open_first=Reason(f"open kernel modules came with branch {first}", modules["open"]["source"]),
        open_since=int(first),
        open_default_since=int(modules["open"]["default_since"]),
        proprietary_last=Reason(
            f"branch {last} is the last with proprietary kernel modules", modules["proprietary"]["source"]
        ),
        proprietary_until=int(last),
    )


@functools.cache
def runfiles() -> Mapping[str, str]:
    """Return the sha256 of the installers that are known, by name."""
    document: Mapping[str, str] = documents.read(content.roles() / "cuda_toolkit/files/runfiles.yml")
    return document
