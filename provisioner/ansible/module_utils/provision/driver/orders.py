# SPDX-License-Identifier: Apache-2.0
"""Hold the orders of a driver's job: the module writes them, and the job reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping

from ..jobs.orders import Written
from .packages import System

INSTALL, REMOVE = "install", "remove"


@dataclass(frozen=True)
class Orders(Written):
    """What a job does to a host's driver. A removal has fewer orders than an installation."""

    verb: str
    title: str
    # Where the driver comes from, its exact version or branch, and the kind of its kernel modules.
    source: str
    # The distribution, as it was found on the host.
    system: System
    version: str = ""
    modules: str = ""
    # What the decision was about, by which the next run recognises that this is what it wants.
    asked: dict[str, Any] = field(default_factory=dict)
    action: str = ""
    # What else was found on the host.
    running: str = ""
    booting: str = ""
    installed_version: str | None = None
    installed_source: str = ""
    serving: list[str] = field(default_factory=list)
    secure_boot: bool = False
    fabric: bool = False
    more_packages: list[str] = field(default_factory=list)
    # What the inventory allows.
    may_reboot: bool = True
    # How a reboot would become possible, where it is not.
    reboot_step: str = "set nvidia_driver_reboot: consent"
    hold: bool = True
    vault: str = ""
    runfile_sha256: str = ""
    lock_timeout: float = 600
    stop_seconds: float = 180
    attempts: int = 5
    stall_seconds: float = 60

    @classmethod
    def read(cls, spec: Mapping[str, Any]) -> Orders:
        """Return the orders in a file."""
        return super().read({**spec, "system": System(**spec["system"])})
