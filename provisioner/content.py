# SPDX-License-Identifier: Apache-2.0
"""Find the shipped playbooks, roles and templates; no other module knows where they are.

In a wheel they are `provisioner/_content`; in a checkout they are the folders beside the package.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """Return the folder that contains `playbooks`, `roles`, `templates` and `inventories`."""
    shipped = PACKAGE / "_content"
    return shipped if shipped.is_dir() else PACKAGE.parent


def playbook(name: str) -> Path:
    """Return the path of the playbook called `name`."""
    return root() / "playbooks" / f"{name}.yml"


def roles() -> Path:
    """Return the folder of all roles."""
    return root() / "roles"


def plugins(kind: str) -> Path:
    """Return the folder of our Ansible plugins of one kind: modules, module_utils, action or callbacks."""
    return PACKAGE / "ansible" / kind


def ssh() -> Path:
    """Return the program that runs ssh with our defaults behind the user's configuration."""
    return PACKAGE / "ansible" / "ssh_with_defaults"


def askpass() -> Path:
    """Return the folder of the program that hands a typed password to ssh."""
    return PACKAGE / "ansible" / "askpass"


def ssh_askpass() -> Path:
    """Return the program that answers the questions of ssh for the day-two commands."""
    return PACKAGE / "remote" / "askpass"


def lab_inventory() -> Path:
    """Return the shipped inventory of throwaway hosts."""
    return root() / "inventories" / "lab.ini"


def lab_variables() -> Path:
    """Return the specification of the `lab_*` variables."""
    return PACKAGE / "lab" / "variables.yml"
