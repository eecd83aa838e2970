# SPDX-License-Identifier: Apache-2.0
"""Explain the output of a package manager on a host that has no Python for this project's own modules."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# In a checkout, `ansible-playbook` may belong to a Python in which the package is not installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from provisioner.ansible.module_utils.provision.host import proxy
from provisioner.ansible.module_utils.provision.host.fault import cause_in
from provisioner.ansible.module_utils.provision.host.outward import trouble
from provisioner.ansible.module_utils.provision.host.packages.advice import cause_line


def explained(said: str, given: Mapping[str, Any]) -> str:
    """Return what keeps the host from its package sources and what to do, empty where that is unknown."""
    found = trouble(said, proxy.environment(given))
    return f"{found.says}. {found.step[0].upper()}{found.step[1:]}." if found else ""


def cause(said: str) -> str:
    """Return the one line that shows why the installation failed; all of it is in the log."""
    return cause_line(said) or cause_in(said)


class FilterModule:
    """Offer the filters to the role's tasks."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return every filter by its name."""
        return {"host_base_explained": explained, "host_base_cause": cause}
