# SPDX-License-Identifier: Apache-2.0
"""Hold the orders of a job that installs an archive: the module writes them, and the job reads them."""

from __future__ import annotations

from dataclasses import dataclass

from ..jobs.orders import Written

GIBIBYTE = 1024**3


@dataclass(frozen=True)
class Orders(Written):
    """Which archive a job installs, and where."""

    name: str
    version: str
    sha256: str
    executable: str
    title: str
    # By which the outcome is recognised as the answer to these very orders.
    directory: str
    root: str
    cache: str
    needed_bytes: int = 0
    reserve_bytes: int = GIBIBYTE
    attempts: int = 5
    stall_seconds: float = 60
    # Where the job itself is, and where it writes its state.
    program: str = ""
    result: str = ""
