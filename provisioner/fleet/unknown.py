# SPDX-License-Identifier: Apache-2.0
"""Find variables of an inventory that nothing reads: misspelt ones, and those that others set."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from provisioner.fleet import foreign, variables
from provisioner.fleet.findings import Finding

LEFT_ALONE = "no service and no variable of this tool is set"
# What a run finds out. With a cache of facts, Ansible lists it for the next run as if the inventory set it.
FACTS = frozenset({"host_probe", "provision_models", "provision_services", "python_envs", "release_archives"})
# A name this similar to a variable of the tool, that nothing refers to, is taken for a misspelling.
_MISSPELT = 0.88


def reserved_names() -> set[str]:
    """Return the names that Ansible reserves, without `name`, which people use all the same."""
    # The import reads ansible.cfg and creates folders, and ends with a traceback where it cannot.
    from ansible.vars.reserved import get_reserved_names  # noqa: PLC0415

    return set(get_reserved_names()) - {"name"}


def is_bare(given: Mapping[str, Any]) -> bool:
    """Return whether nothing of a host is for this tool, which leaves such a host alone."""
    return not given.keys() & variables.load().variables.keys()


def find(own: Mapping[str, Any], reserved: set[str], listed: Collection[str] = ()) -> Iterator[Finding]:
    """Find what is not a variable of this tool, but was probably meant to be one.

    Those that are `listed` belong to other roles.
    """
    catalog = variables.load()
    text = json.dumps(own, default=str)
    for name, value in own.items():
        if name in catalog.variables or foreign.is_listed(name, listed):
            continue
        if name in variables.COMMAND_LINE_VARIABLES:
            yield Finding(name, "is set by the command line and cannot be set in an inventory", value, True)
        elif catalog.owns(name):
            yield Finding(name, *_refusal(name, value))
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


def _refusal(name: str, value: object) -> tuple[str, object, bool, str]:
    """Return what is wrong with a name that begins like the variables of this tool."""
    if found := foreign.owner(name):
        reason, hint = found
        return reason, value, True, hint
    near = variables.load().nearest(name)
    hint = f"did you mean {near}?" if near else "`provision engines` lists the variables"
    if not near or not variables.load().nearest(name, [near], _MISSPELT):
        hint += f" (if another role reads it, add it to {foreign.LIST})"
    return "is not a variable of this tool", value, True, hint


def _is_used(name: str, text: str) -> bool:
    return bool(re.search(rf"\{{[\{{%][^}}]*\b{re.escape(name)}\b", text))
