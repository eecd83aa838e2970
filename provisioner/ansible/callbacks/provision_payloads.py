# SPDX-License-Identifier: Apache-2.0
"""Keep the modules that Ansible packs between runs; nothing is shown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

# In a checkout, `ansible-playbook` may belong to a Python in which the package is not installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from provisioner.ansible import payloads

DOCUMENTATION = """
name: provision_payloads
type: notification
short_description: Keep packed modules between runs
description:
  - Keeps them in C($XDG_CACHE_HOME/provision/modules), which may be removed at any time.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Fetch what earlier runs packed before the first task, and keep the rest after the last one."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "provision_payloads"
    CALLBACK_NEEDS_ENABLED = False

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Fetch them."""
        del playbook
        self._kept = payloads.fetch()

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Keep them."""
        del stats
        payloads.keep(self._kept)
