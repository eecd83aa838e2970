# SPDX-License-Identifier: Apache-2.0
"""Report, from the controller alone, why a host is left out of a run."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """Give one host's reason."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({"reason"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return a skipped result with the reason."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        reason = str(self._task.args["reason"]).strip()
        return {**result, "skipped": True, "skip_reason": reason, "provision": {"skipped": reason}}
