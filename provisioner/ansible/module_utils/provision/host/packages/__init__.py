# SPDX-License-Identifier: Apache-2.0
"""Work with the package manager of a host, whichever it is; a manager is one file with one class."""

from __future__ import annotations

import shutil
from typing import Union

from ..fault import Fault
from .apt import Apt
from .common import Allow, Changes, User
from .dnf import Dnf

__all__ = ["Allow", "Apt", "Changes", "Dnf", "Manager", "User", "manager"]
Manager = Union[Apt, Dnf]


def manager(user: User | None = None) -> Manager:
    """Return the package manager of this host."""
    for kind in (Apt, Dnf):
        if shutil.which(kind.program):
            return kind(user)
    raise Fault("this host has neither apt-get nor dnf", "use a distribution of the support matrix")
