# SPDX-License-Identifier: Apache-2.0
"""Hold the orders of a job that installs a Python with conda: the module writes them, the job reads them."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..jobs.orders import Written

GIBIBYTE = 1024**3


@dataclass(frozen=True)
class Orders(Written):
    """Which conda and Python a job installs, and where."""

    provider: str
    version: str
    sha256: str
    python: str
    title: str
    # By which the outcome is recognised as the answer to these very orders.
    interpreter: str
    root: str
    cache: str
    prefix: str = ""
    packages: list[str] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)
    channel_alias: str = ""
    custom_channels: dict[str, str] = field(default_factory=dict)
    default_channels: list[str] = field(default_factory=list)
    ca_bundle: str = ""
    accept_terms: bool = False
    needed_bytes: int = 0
    python_bytes: int = 0
    reserve_bytes: int = GIBIBYTE
    attempts: int = 5
    stall_seconds: float = 60
    # Where the job itself is, and where it writes its state.
    program: str = ""
    result: str = ""
