# SPDX-License-Identifier: Apache-2.0
"""Run a recorded transaction of the package manager as a unit."""

from __future__ import annotations

from dataclasses import dataclass

from ..host.packages import Manager, record
from .unit import start_or_attach

TRANSACTION_SECONDS = 3600


@dataclass(frozen=True)
class Transaction:
    """Describe a transaction: what it is for, which packages it changes, and by which script."""

    packages: Manager
    script: str
    asked: list[str]
    names: list[str]
    what: str

    def start(self) -> bool:
        """Start it and return True, or return False if one is running already."""
        record.STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
        properties: dict[str, object] = {
            "Description": self.what,
            "Environment": list(self.packages.environment),
            "RuntimeMaxSec": TRANSACTION_SECONDS,
        }
        argv = record.command(self.packages, self.script, self.asked, self.names)
        return start_or_attach(record.UNIT, argv, properties=properties)
