# SPDX-License-Identifier: Apache-2.0
"""Choose a service's device and GPUs as its role does, from the role's own task files."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import filter_loader
from ansible.template import Templar

from provisioner.ansible.action import engine_device
from tests.contract import tree

# Ansible finds the filters of a role once it has loaded the role.
for filters in tree.ROOT.glob("roles/*/filter_plugins"):
    filter_loader.add_directory(str(filters))


def driver(**changes: Any) -> dict[str, Any]:
    """Return what the probe says of a driver that works."""
    works = {
        "state": "ok",
        "version": "580.95.05",
        "library": "580.95.05",
        "module": "580.95.05",
        "cuda": "13.0",
        "flavour": "open",
        "lost": [],
        "expected": 0,
        "problem": None,
        "next": None,
    }
    return {**works, **changes}


def choose(role: str, templar: Templar) -> dict[str, Any]:
    """Return what the entry `device` registers for a service, with what its role gives to that entry."""
    own = _task(tree.ROOT / "roles" / role / "tasks/device.yml", "ansible.builtin.include_role")
    common = _task(tree.ROOT / "roles/engine_common/tasks/device.yml", "engine_device")
    variables = {**templar.available_variables, **own["vars"]}
    given = templar.copy_with_new_env(available_variables=variables).template(common["engine_device"])
    return engine_device.answer(given)


def load(path: Path) -> Any:
    """Return what a file of a role holds, its templates trusted; what is below the first level is shared."""
    found = _parsed(path)
    return dict(found) if isinstance(found, dict) else found


@functools.cache
def _parsed(path: Path) -> Any:
    # Ansible's own copy of what it has parsed takes twice as long as parsing.
    return DataLoader().load_from_file(str(path), unsafe=True, trusted_as_template=True)


def _task(path: Path, action: str) -> dict[str, Any]:
    tasks = load(path)
    (found,) = [task for task in tasks if action in task]
    return dict(found)
