# SPDX-License-Identifier: Apache-2.0
"""End a module with its result, or with the message and the next step of the fault that stopped it."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional

from .fault import Fault, fault_of

Work = Callable[[], Optional[Dict[str, Any]]]


def run_module(module: Any, work: Work) -> None:
    """Run the work of a module and end with what it returns; one that has ended by itself returns nothing.

    Faults and errors of the file system become the module's failure. Anything else is a defect, whose
    traceback Ansible shows.
    """
    try:
        result = work()
    except (Fault, OSError) as error:
        fault = fault_of(error)
        module.fail_json(msg=str(fault), finished=True, provision=fault.provision)
    else:
        if result is not None:
            if result.pop("failed", False):
                module.fail_json(**result)
            module.exit_json(**result)
