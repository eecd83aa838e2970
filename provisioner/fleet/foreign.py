# SPDX-License-Identifier: Apache-2.0
"""Know the variables of other people's roles that begin like those of this tool."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

# The inventory lists the variables of other roles here, and they are left alone.
LIST = "host_base_foreign_variables"
_NVIDIA = "NVIDIA's role nvidia.nvidia_driver"
# The variables of that role after the prefix, and what has their meaning here.
_PREFIX = "nvidia_driver_"
_OF_NVIDIA = {
    r"((rhel|debian|ubuntu)_)?branch|package_version": "use nvidia_driver_version",
    r"package_state": "use nvidia_driver_state",
    r"skip_reboot": "use nvidia_driver_reboot: never",
    r"add_repos|\w+_install_from_cuda_repo": "use nvidia_driver_source",
    r"(rhel|debian|ubuntu)_cuda_repo_\w+": "use nvidia_driver_repository",
    r"persistence_mode_on|module_file|module_params|(rhel|debian|ubuntu)_\w+": "",
}


def is_listed(name: str, listed: Iterable[str]) -> bool:
    """Return whether the inventory lists a variable as that of another role, by its name or a pattern."""
    return any(fnmatchcase(name, pattern) for pattern in listed)


def owner(name: str) -> tuple[str, str] | None:
    """Return why a well-known variable of another role does nothing here, with what to do, or None."""
    for pattern, instead in _OF_NVIDIA.items():
        if re.fullmatch(f"{_PREFIX}({pattern})", name):
            keep = f"add it to {LIST} to keep it for that role"
            return f"belongs to {_NVIDIA}, and this tool does not read it", "; ".join(
                filter(None, (instead, keep))
            )
    return None
