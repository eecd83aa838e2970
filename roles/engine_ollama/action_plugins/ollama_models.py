# SPDX-License-Identifier: Apache-2.0
"""Run the module of Ollama's models until its job on the host has ended."""

from __future__ import annotations

import sys
from pathlib import Path

# In a checkout, `ansible-playbook` may belong to a Python in which the package is not installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from provisioner.ansible.polling import PollingAction


class ActionModule(PollingAction):
    """Run the module of the same name."""
