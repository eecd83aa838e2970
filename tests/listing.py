# SPDX-License-Identifier: Apache-2.0
"""Read an inventory with Ansible's own parsers in this process; `ansible-inventory` needs one of its own.

Starting Ansible costs most of a second, reading an inventory a few thousandths. A test of tests/ansible shows
that both give the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ansible import constants
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.splitter import parse_kv
from ansible.vars.manager import VariableManager


def listing(
    source: str, limit: str | None, extra_vars: Sequence[str], vault_arguments: Sequence[str]
) -> dict[str, Any]:
    """Return the document of `ansible-inventory --list`."""
    assert not vault_arguments
    loader = DataLoader()
    found = InventoryManager(loader=loader, sources=[source])
    found.subset(limit)
    manager = VariableManager(loader=loader, inventory=found)
    # What the manager has of its own is shared by all managers of a process.
    manager._extra_vars = {name: value for given in extra_vars for name, value in parse_kv(given).items()}
    hosts = found.get_hosts("all")
    names = {host.name for host in hosts}
    document: dict[str, Any] = {
        name: {
            "hosts": [host.name for host in group.hosts if host.name in names and name != "all"],
            "children": [child.name for child in group.child_groups],
        }
        for name, group in found.groups.items()
    }
    variables = {
        host.name: {
            name: value
            for name, value in manager.get_vars(host=host, include_hostvars=False, stage="all").items()
            if name not in constants.INTERNAL_STATIC_VARS
        }
        for host in hosts
    }
    document["_meta"] = {"hostvars": variables}
    plain: dict[str, Any] = json.loads(json.dumps(document, sort_keys=True))
    return plain
