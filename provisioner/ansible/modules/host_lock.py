# SPDX-License-Identifier: Apache-2.0
"""Take the lock by which one run at a time changes a host."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.provision.host import lock
from ansible.module_utils.provision.host.entry import run

ARGUMENTS: dict[str, dict[str, Any]] = {
    "run": {"type": "str", "required": True},
    "by": {"type": "str", "required": True},
    "what": {"type": "str", "required": True},
}


def take(module: AnsibleModule) -> dict[str, Any]:
    """Take the lock; a dry run only warns of the run that has it."""
    token, warning = ("", lock.noticed()) if module.check_mode else lock.take(**module.params)
    result: dict[str, Any] = {
        "changed": False,
        "heartbeat": ["sh", "-c", lock.HEARTBEAT, token] if token else [],
    }
    return {**result, "provision": {"warning": [warning]}} if warning else result


def main() -> None:
    """Run as an Ansible module."""
    run(take, ARGUMENTS)


if __name__ == "__main__":
    main()
