# SPDX-License-Identifier: Apache-2.0
"""Carry NVIDIA's Python bindings to the host with the module that verifies it.

Ansible packs them as it packs every other file of the module, from a folder that holds nothing but them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.plugins.loader import module_utils_loader

# In a checkout, `ansible-playbook` may belong to a Python in which the package is not installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from provisioner import bindings


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """Run the module of the same name."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module found."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        with bindings.folder() as folder:
            if folder:
                module_utils_loader.add_directory(str(folder))
            return {**result, **self._execute_module(module_name="service_verify", task_vars=task_vars)}
