# SPDX-License-Identifier: Apache-2.0
"""Turn an inventory into a Fleet, typed and frozen, or report every mistake in it; no host is contacted."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provisioner.errors import InventoryError, Problem
from provisioner.fleet import (
    compatibility,
    container_runtime,
    engines,
    python_env,
    rules,
    services,
    variables,
)
from provisioner.fleet.findings import Finding
from provisioner.fleet.inventory import Inventory
from provisioner.fleet.origins import Origins
from provisioner.fleet.services import Service
from provisioner.fleet.stack import Chain

# Ansible's connection variables that people type by hand, to recognise a misspelt one.
_CONNECTION_VARIABLES = tuple(
    f"ansible_{name}"
    for name in (
        "host",
        "port",
        "user",
        "password",
        "connection",
        "ssh_private_key_file",
        "ssh_common_args",
        "ssh_extra_args",
        "become",
        "become_user",
        "become_method",
        "become_password",
        "become_exe",
        "python_interpreter",
    )
)
# What may hold a secret by its name: the variable itself, or the one that a misspelt name was meant to be.
_SECRET_NAME = re.compile(r"(key|token|secret|password|passwd|passphrase|_env|environment)s?$", re.IGNORECASE)
_SECRET_FILE = re.compile(r"(key|token|netrc|password)_file$")
_PATH = re.compile(r"(~|\.{0,2}/)\S*")
_PASSWORD_OF_ADDRESS = re.compile(r"://[^/\s@]+@")
# A name this similar to a variable of the tool, that nothing refers to, is taken for a misspelling.
_MISSPELT = 0.88


@dataclass(frozen=True)
class Host:
    """Describe one host: how to reach it and what it serves."""

    name: str
    address: str
    port: int
    groups: tuple[str, ...]
    services: tuple[Service, ...]
    templated: tuple[str, ...]
    compatibility: Chain


# The result of a host's own variables: its services, driver and CUDA, and what is wrong.
_Checked = tuple[tuple[Service, ...], Chain, tuple[Finding, ...]]


@dataclass(frozen=True)
class Fleet:
    """Every host of an inventory, in the inventory's order."""

    source: str
    hosts: tuple[Host, ...]


def load(inventory: Inventory, extra_vars: Sequence[str] = ()) -> Fleet:
    """Return the fleet that `inventory` describes.

    Raises InventoryError with every problem, each with its origin and the nearest valid variable.
    """
    if not inventory.hosts:
        raise InventoryError(
            f"{inventory.source} contains no host", next_step="add a host, or correct --limit"
        )
    checked = _Checker(inventory)
    hosts = tuple(checked.host(name) for name in inventory.hosts)
    found = {**checked.found}
    for name, finding in _shared_addresses(hosts):
        found.setdefault(finding, []).append(name)
    if found:
        origins = Origins(inventory.source, extra_vars)
        problems = [_problem(finding, names, inventory, origins) for finding, names in found.items()]
        problems.sort(key=_place)
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise InventoryError(f"{inventory.source} has {count}; no host was contacted", problems)
    return Fleet(inventory.source, hosts)


class _Checker:
    """Resolve hosts one by one; hosts with equal variables are resolved once."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._defaults = {name: variables.defaults(engine.role) for name, engine in engines.load().items()}
        self._reserved = _reserved_names()
        self._seen: dict[str, _Checked] = {}
        self.found: dict[Finding, list[str]] = {}

    def host(self, name: str) -> Host:
        given = self._inventory.hosts[name]
        own = {key: value for key, value in given.items() if not key.startswith("ansible_")}
        key = json.dumps(own, sort_keys=True, default=str)
        if key not in self._seen:
            self._seen[key] = self._resolve(own)
        found, chain, findings = self._seen[key]
        for finding in (*findings, *_connection(given)):
            self.found.setdefault(_hashable(finding), []).append(name)
        port = given.get("ansible_port", 22)
        return Host(
            name=name,
            address=str(given.get("ansible_host", name)),
            port=22 if (number := _number(port)) is None else number,
            groups=self._inventory.groups[name],
            services=found,
            templated=tuple(sorted(key for key, value in own.items() if variables.is_deferred(value))),
            compatibility=chain,
        )

    def _resolve(self, own: Mapping[str, Any]) -> _Checked:
        resolved = rules.resolve(own, self._defaults, self._inventory.folder)
        findings = [*_unknown_variables(own, self._reserved), *resolved.findings]
        findings += [*rules.controller_files(own), *python_env.check(own), *container_runtime.check(own)]
        chain, found = compatibility.resolve(own, resolved.services)
        return resolved.services, chain, (*findings, *found)


def _reserved_names() -> set[str]:
    """Return the names that Ansible reserves, without `name`, which people use all the same."""
    # The import reads ansible.cfg and creates folders, and ends with a traceback where it cannot.
    from ansible.vars.reserved import get_reserved_names  # noqa: PLC0415

    return set(get_reserved_names()) - {"name"}


def _unknown_variables(own: Mapping[str, Any], reserved: set[str]) -> Iterator[Finding]:
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


def _connection(given: Mapping[str, Any]) -> Iterator[Finding]:
    port = given.get("ansible_port")
    is_port = 1 <= (_number(port) or 0) <= 65535
    if port is not None and not variables.is_deferred(port) and not is_port:
        yield Finding("ansible_port", "must be a port between 1 and 65535", port, True)
    for name in given:
        if name.startswith("ansible_") and name not in _CONNECTION_VARIABLES:
            near = variables.load().nearest(name, _CONNECTION_VARIABLES, 0.9)
            if near and len(near) == len(name):
                yield Finding(
                    name, "is not a variable of Ansible", given[name], True, f"did you mean {near}?"
                )


def _number(port: object) -> int | None:
    """Return a port as a number, where it is written as one."""
    return int(str(port)) if re.fullmatch(r"[0-9]{1,5}", str(port)) else None


def _shared_addresses(hosts: Sequence[Host]) -> Iterator[tuple[str, Finding]]:
    first: dict[tuple[str, int], Host] = {}
    for host in hosts:
        known = first.setdefault((host.address, host.port), host)
        if known is not host and not variables.is_deferred(host.address):
            where = f"{host.address} port {host.port}"
            reason = f"{where} is also {known.name}: one machine would be provisioned twice"
            yield host.name, Finding("ansible_host", reason, host.address, True)


def _hashable(finding: Finding) -> Finding:
    """Return the finding with a value that can be a key, so that equal findings of many hosts become one."""
    value = finding.value
    if isinstance(value, (list, dict)):
        value = json.dumps(value, default=str)
    return Finding(finding.variable, finding.reason, value, finding.has_value, finding.hint, finding.item)


def _place(problem: Problem) -> tuple[str, float]:
    """Return file and line of a problem's origin, so that problems come in the order of the files."""
    found = re.match(r"(.*):(\d+) \(", problem.origin)
    return (found[1], int(found[2])) if found else (problem.origin.rpartition(" (")[0], math.inf)


def _problem(finding: Finding, names: Sequence[str], inventory: Inventory, origins: Origins) -> Problem:
    first = names[0]
    in_list = finding.item is not None
    variable = (
        services.LIST_VARIABLE if in_list and _holds(inventory.hosts[first], finding) else finding.variable
    )
    is_secret = _may_be_secret(finding)
    return Problem(
        variable=f"{services.LIST_VARIABLE}[{finding.item}].{finding.variable}"
        if in_list
        else finding.variable,
        reason=_without_password(finding.reason),
        hosts=tuple(dict.fromkeys(names)),
        value=None if is_secret else _without_password(finding.value),
        has_value=finding.has_value and not is_secret,
        origin=origins.of(variable, first, inventory.groups[first]),
        hint=_without_password(finding.hint),
    )


def _holds(given: Mapping[str, Any], finding: Finding) -> bool:
    """Return whether the item of the list, and not its host, has the variable; a missing one counts."""
    items = given.get(services.LIST_VARIABLE)
    item = items[finding.item - 1] if isinstance(items, list) and finding.item else None
    has_it = isinstance(item, Mapping) and finding.variable in item
    return has_it or finding.variable not in given


def _may_be_secret(finding: Finding) -> bool:
    """Return whether a value must not be shown; the path to a secret may, a secret instead of it may not."""
    names = [finding.variable, *re.findall(r"did you mean (\w+)\?", finding.hint)]
    if any(map(_SECRET_NAME.search, names)):
        return True
    in_file = any(map(_SECRET_FILE.search, names))
    return finding.variable == services.LIST_VARIABLE or (in_file and not _PATH.fullmatch(str(finding.value)))


def _without_password(value: Any) -> Any:
    return _PASSWORD_OF_ADDRESS.sub("://…@", value) if isinstance(value, str) else value
