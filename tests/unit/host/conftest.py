# SPDX-License-Identifier: Apache-2.0
"""Let modules find this project's module_utils as Ansible's wrapper does on a host."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

OURS = str(Path(__file__).resolve().parents[3] / "provisioner" / "ansible" / "module_utils")
if OURS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(OURS)
