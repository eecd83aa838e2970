# SPDX-License-Identifier: Apache-2.0
"""Report, from the controller alone, whether and why a host is left out of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

# In a checkout, `ansible-playbook` may belong to a Python in which the package is not installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from provisioner.fleet import unknown


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """Give one host's reason, if it has one, such as an inventory that sets nothing for this tool."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset({"reason", "bare"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return a skipped result with the reason, or one that says nothing."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        reason = str(self._task.args["reason"]).strip()
        if not reason and self._task.args["bare"] and self._is_bare(task_vars or {}):
            reason = unknown.LEFT_ALONE
        if not reason:
            return {**result, "changed": False, "provision": {}}
        return {**result, "skipped": True, "skip_reason": reason, "provision": {"skipped": reason}}

    def _is_bare(self, given: dict[str, Any]) -> bool:
        # Unlike the task's own variables, these contain no defaults of roles.
        return unknown.is_bare(given["hostvars"].raw_get(given["inventory_hostname"]))
