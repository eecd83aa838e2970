# SPDX-License-Identifier: Apache-2.0
"""Let tests import what Ansible sends along to a host by the name it has there."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

SENT_ALONG = str(Path(__file__).resolve().parents[3] / "provisioner/ansible/module_utils")
if SENT_ALONG not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(SENT_ALONG)
