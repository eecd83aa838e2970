# SPDX-License-Identifier: Apache-2.0
"""Run a module on a host with NVIDIA's Python bindings beside it.

Ansible packs them as it packs every other file of the module, from a folder that holds nothing but them.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.plugins.loader import module_utils_loader

from provisioner import bindings


class BindingsAction(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """Run the module of the task's own name."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module found."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        with bindings.folder() as folder:
            if folder:
                module_utils_loader.add_directory(str(folder))
            return {**result, **self._execute_module(module_name=self._task.action, task_vars=task_vars)}
