# SPDX-License-Identifier: Apache-2.0
"""Find variables of an inventory that nothing reads: misspelt ones, and those that others set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from provisioner.fleet import variables
from provisioner.fleet.findings import Finding

# A name this similar to a variable of the tool, that nothing refers to, is taken for a misspelling.
_MISSPELT = 0.88


def reserved_names() -> set[str]:
    """Return the names that Ansible reserves, without `name`, which people use all the same."""
    # The import reads ansible.cfg and creates folders, and ends with a traceback where it cannot.
    from ansible.vars.reserved import get_reserved_names  # noqa: PLC0415

    return set(get_reserved_names()) - {"name"}


def find(own: Mapping[str, Any], reserved: set[str]) -> Iterator[Finding]:
    """Find what is not a variable of this tool, but was probably meant to be one."""
    catalog = variables.load()
    text = json.dumps(own, default=str)
    for name, value in own.items():
        if name in catalog.variables:
            continue
        if name in variables.COMMAND_LINE_VARIABLES:
            yield Finding(name, "is set by the command line and cannot be set in an inventory", value, True)
        elif catalog.owns(name):
            near = catalog.nearest(name)
            hint = f"did you mean {near}?" if near else "`provision engines` lists the variables"
            yield Finding(name, "is not a variable of this tool", value, True, hint)
        elif name in reserved:
            hint = (
                f"did you mean serve_{name}?"
                if f"serve_{name}" in catalog.variables
                else "give it another name"
            )
            yield Finding(name, "is a name that Ansible reserves for itself", value, True, hint)
        elif (near := catalog.nearest(name, cutoff=_MISSPELT)) and not _is_used(name, text):
            yield Finding(
                name,
                "is not a variable of this tool, and nothing refers to it",
                value,
                True,
                f"did you mean {near}?",
            )


def _is_used(name: str, text: str) -> bool:
    return bool(re.search(rf"\{{[\{{%][^}}]*\b{re.escape(name)}\b", text))
