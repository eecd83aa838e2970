# SPDX-License-Identifier: Apache-2.0
"""Run a recorded transaction of the package manager as a unit."""

from __future__ import annotations

from ..host.packages import Manager, record
from .unit import start_or_attach

TRANSACTION_SECONDS = 3600


def transact(packages: Manager, script: str, asked: list[str], names: list[str], what: str) -> bool:
    """Start a script that changes packages for those that were requested, unless a transaction is running."""
    record.STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
    properties = {
        "Description": what,
        "Environment": list(packages.environment),
        "RuntimeMaxSec": TRANSACTION_SECONDS,
    }
    return start_or_attach(record.UNIT, record.command(packages, script, asked, names), properties=properties)
