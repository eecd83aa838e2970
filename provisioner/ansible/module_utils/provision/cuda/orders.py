# SPDX-License-Identifier: Apache-2.0
"""Hold the orders of a job that changes CUDA toolkits: the module writes them, and the job reads them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Mapping

from ..jobs.orders import Written
from .place import Layout
from .versions import Toolkit


@dataclass(frozen=True)
class Orders(Written):
    """What a job removes and installs, and where."""

    # By which the outcome is recognised as the answer to these very orders.
    order: str
    title: str
    remove: list[str]
    install: list[Toolkit]
    layout: Layout
    cache: str
    tmpdir: str
    # Whether an installer continues with a compiler that it does not support.
    override: bool
    needed_bytes: int
    reserve_bytes: int
    attempts: int
    stall_seconds: float
    lock_timeout: float

    @classmethod
    def read(cls, spec: Mapping[str, Any]) -> Orders:
        """Return the orders in a file."""
        toolkits = [Toolkit(**toolkit) for toolkit in spec["install"]]
        return super().read({**spec, "install": toolkits, "layout": Layout.read(spec["layout"])})

    def to_dict(self) -> dict[str, Any]:
        """Return what is written to the file."""
        return {
            **super().to_dict(),
            "layout": {name: str(path) for name, path in asdict(self.layout).items()},
        }
