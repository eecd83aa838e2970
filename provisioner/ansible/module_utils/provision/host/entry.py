# SPDX-License-Identifier: Apache-2.0
"""Run a module: create it, and end with its result, or with the message and next step of what stopped it."""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, Iterable

from ansible.module_utils.basic import AnsibleModule

from . import proxy
from .fault import NO_CONSENT, ConsentNeeded, Fault, fault_of

Result = Dict[str, Any]


def run(work: Callable[[AnsibleModule], Result], arguments: dict[str, dict[str, Any]], **rules: Any) -> None:
    """Run the work of a module that takes these arguments, under AnsibleModule's `rules` about them."""
    # What a module creates is for everyone to read unless it says otherwise.
    os.umask(0o022)
    # What it fetches, and what the programs that it starts fetch, goes out as the inventory says.
    proxy.adopt()
    end(AnsibleModule(argument_spec=arguments, supports_check_mode=True, **rules), work)


def end(module: AnsibleModule, work: Callable[[AnsibleModule], Result]) -> None:
    """End a module with what its work returns.

    Faults and errors of the file system become the module's failure. Anything else is a defect, whose
    traceback Ansible shows.
    """
    try:
        result = work(module)
    except (Fault, OSError) as error:
        fault = fault_of(error)
        module.fail_json(msg=str(fault), finished=True, provision=fault.provision)
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


def require_consent(module: AnsibleModule, changes: list[str], next_step: str = NO_CONSENT) -> dict[str, Any]:
    """Return the `provision` key of a dry run; another one raises ConsentNeeded unless consent is given."""
    if module.params["consent"] or not changes:
        return {}
    fault = ConsentNeeded(changes, next_step)
    if not module.check_mode:
        raise fault
    return fault.provision


def removal(removed: Iterable[object]) -> dict[str, Any]:
    """Return the result of a module that has removed things, or would."""
    names = [str(one) for one in removed]
    diff = {"before": "".join(f"{name}\n" for name in names), "after": ""}
    return {"changed": bool(names), "finished": True, "removed": names, "diff": diff}
