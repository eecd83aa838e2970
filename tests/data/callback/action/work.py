# SPDX-License-Identifier: Apache-2.0
"""Follow the work of the test double of the same name."""

from __future__ import annotations

from provisioner.ansible.polling import PollingAction


class ActionModule(PollingAction):
    """Run the module of the same name."""
