# SPDX-License-Identifier: Apache-2.0
"""Carry NVIDIA's Python bindings to the host with the module that probes it."""

from __future__ import annotations

import sys
from pathlib import Path

# In a checkout, `ansible-playbook` may belong to a Python in which the package is not installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from provisioner.ansible.carrying import BindingsAction


class ActionModule(BindingsAction):
    """Run the module of the same name."""
