# SPDX-License-Identifier: Apache-2.0
"""Render the variables of the role that are decided before its module runs."""

from __future__ import annotations

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from provisioner import content, documents

OWN = documents.read(content.roles() / "nvidia_driver/vars/main.yml")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "consent"),
        ({"ansible_connection": "ssh"}, "consent"),
        ({"ansible_connection": "local"}, "local"),
        ({"ansible_connection": "ansible.builtin.local"}, "local"),
        ({"ansible_connection": "local", "nvidia_driver_reboot": "never"}, "never"),
    ],
)
def test_the_module_knows_where_a_reboot_would_end_the_run(given: dict[str, str], expected: str) -> None:
    templar = Templar(DataLoader(), {"nvidia_driver_reboot": "consent", **given})
    assert templar.template(trust_as_template(OWN["__nvidia_driver_reboot"])) == expected
