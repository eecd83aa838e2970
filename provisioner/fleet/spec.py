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
    connections,
    container_runtime,
    engines,
    files,
    foreign,
    models,
    proxy,
    python_env,
    rules,
    services,
    unknown,
    variables,
    written,
)
from provisioner.fleet.files import Unlock
from provisioner.fleet.findings import Finding
from provisioner.fleet.inventory import Inventory
from provisioner.fleet.origins import Origins
from provisioner.fleet.rendering import Scope
from provisioner.fleet.services import Service
from provisioner.fleet.stack import Chain

# What may hold a secret by its name: the variable itself, or the one that a misspelt name was meant to be.
_SECRET_NAME = re.compile(r"(key|token|secret|password|passwd|passphrase|_env|environment)s?$", re.IGNORECASE)
_SECRET_FILE = re.compile(r"(key|token|netrc|password)_file$")
_PATH = re.compile(r"(~|\.{0,2}/)\S*")
_PASSWORD_OF_ADDRESS = re.compile(r"://[^/\s@]+@")


@dataclass(frozen=True)
class Host:
    """Describe one host: how to reach it and what it serves.

    It `is_bare` if nothing of it is for this tool, and `is_local` if this tool runs on it.
    """

    name: str
    address: str
    port: int
    groups: tuple[str, ...]
    services: tuple[Service, ...]
    templated: tuple[str, ...]
    compatibility: Chain
    is_bare: bool = False
    is_local: bool = False
    notes: tuple[str, ...] = ()


# The result of a host's own variables: its services, driver and CUDA, and what is wrong.
_Checked = tuple[tuple[Service, ...], Chain, tuple[Finding, ...]]


@dataclass(frozen=True)
class Fleet:
    """Every host of an inventory, in the inventory's order."""

    source: str
    hosts: tuple[Host, ...]


def load(inventory: Inventory, extra_vars: Sequence[str] = (), unlock: Unlock | None = None) -> Fleet:
    """Return the fleet that `inventory` describes; encrypted files that it refers to are read by `unlock`.

    Raises InventoryError with every problem, each with its origin and the nearest valid variable.
    """
    if not inventory.hosts:
        raise InventoryError(
            f"{inventory.source} contains no host", next_step="add a host, or correct --limit"
        )
    checked = _Checker(inventory, Origins(inventory.source, extra_vars), unlock)
    hosts = tuple(checked.host(name) for name in inventory.hosts)
    found = {**checked.found}
    for name, finding in _shared_addresses(hosts):
        found.setdefault(finding, []).append(name)
    if found:
        problems = [_problem(finding, names, inventory, checked.origins) for finding, names in found.items()]
        problems.sort(key=_place)
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise InventoryError(f"{inventory.source} has {count}; no host was contacted", problems)
    return Fleet(inventory.source, hosts)


class _Checker:
    """Resolve hosts one by one; hosts with equal variables are resolved once."""

    def __init__(self, inventory: Inventory, origins: Origins, unlock: Unlock | None) -> None:
        self._unlock = unlock
        self._inventory = inventory
        self.origins = origins
        self._defaults = {name: variables.defaults(engine.role) for name, engine in engines.load().items()}
        self._reserved = unknown.reserved_names()
        self._seen: dict[str, _Checked] = {}
        self.found: dict[Finding, list[str]] = {}

    def host(self, name: str) -> Host:
        raw = {key: value for key, value in self._inventory.hosts[name].items() if self._is_set(key, name)}
        own, way, found = self._rendered(name, raw)
        is_bare = unknown.is_bare(raw)
        key = json.dumps([raw, own], sort_keys=True, default=str)
        if key not in self._seen:
            self._seen[key] = self._resolve(raw, own)
        resolved, chain, findings = self._seen[key]
        found += [*findings, *self._lost(name, raw), *connections.check(way, is_used=not is_bare)]
        for finding in found:
            self.found.setdefault(_hashable(finding), []).append(name)
        return Host(
            name=name,
            address=connections.address(way, name),
            port=connections.port(way),
            groups=self._inventory.groups[name],
            services=resolved,
            templated=tuple(sorted(key for key, value in own.items() if variables.is_deferred(value))),
            compatibility=chain,
            is_bare=is_bare,
            is_local=connections.is_local(way),
            notes=tuple(
                proxy.notes(own, self.origins.texts(proxy.VARIABLE, name, self._inventory.groups[name]))
            ),
        )

    def _is_set(self, variable: str, host: str) -> bool:
        """Return whether a variable may be for this tool, and no fact of an earlier run."""
        if variable in unknown.FACTS:
            return bool(self.origins.texts(variable, host, self._inventory.groups[host]))
        return not variable.startswith("ansible_")

    def _rendered(
        self, name: str, raw: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any], list[Finding]]:
        """Return a host's own and its connection variables, rendered, and what never can be."""
        given, catalog = self._inventory.hosts[name], variables.load().variables
        rendered, findings = dict(given), []
        scope: Scope | None = None
        for variable, value in given.items():
            ours = variable in catalog or variable in connections.RENDERED
            if not ours or not variables.is_deferred(value):
                continue
            scope = scope or Scope(given, self._inventory.magic(name))
            rendered[variable], reason, hint = scope.render(value)
            if reason and not self._is_unsafe(variable, name):
                findings.append(Finding(variable, reason, value, True, hint))
        own = {variable: rendered[variable] for variable in raw}
        way = {variable: value for variable, value in rendered.items() if variable not in raw}
        return own, way, findings

    def _is_unsafe(self, variable: str, host: str) -> bool:
        """Return whether Ansible never renders a value, although it looks like a template."""
        texts = self.origins.texts(variable, host, self._inventory.groups[host])
        return any("!unsafe" in text for text in texts)

    def _lost(self, name: str, raw: Mapping[str, Any]) -> Iterator[Finding]:
        """Find texts of a host that Ansible read as numbers with fewer digits."""
        catalog, groups = variables.load().variables, self._inventory.groups[name]
        for variable in raw.keys() & catalog.keys():
            for number in written.numbers(catalog[variable], raw[variable]):
                spelt = written.lost(number, self.origins.texts(variable, name, groups))
                if spelt is not None:
                    in_line = self.origins.in_host_line(variable, name, groups)
                    yield written.finding(variable, number, spelt, in_host_line=in_line)

    def _resolve(self, raw: Mapping[str, Any], own: Mapping[str, Any]) -> _Checked:
        folder, unlock = self._inventory.folder, self._unlock
        resolved = rules.resolve(own, self._defaults, folder, unlock=unlock)
        of_others = models.texts(own.get(foreign.LIST))
        findings = [*unknown.find(raw, self._reserved, of_others), *resolved.findings]
        findings += [*files.paths(own, unlock), *python_env.check(own), *container_runtime.check(own)]
        findings += proxy.check(own, resolved.services)
        chain, found = compatibility.resolve(own, resolved.services)
        return resolved.services, chain, (*findings, *found)


def _shared_addresses(hosts: Sequence[Host]) -> Iterator[tuple[str, Finding]]:
    first: dict[tuple[str, int], Host] = {}
    for host in (host for host in hosts if not host.is_bare):
        known = first.setdefault((host.address.lower(), host.port), host)
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
