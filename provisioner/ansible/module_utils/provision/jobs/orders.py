# SPDX-License-Identifier: Apache-2.0
"""Orders that a module writes to a file and its job reads from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Mapping, TypeVar

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
