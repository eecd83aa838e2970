# SPDX-License-Identifier: Apache-2.0
"""Check which GPUs a service lists and how many it needs, against those that its host has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from provisioner.fleet import variables
from provisioner.fleet.findings import Finding
from provisioner.fleet.services import Service

EXPECTED = "nvidia_driver_gpus_expected"
# An index, the beginning of the UUID of a GPU or of a MIG instance, or a PCI address.
_GPU = re.compile(
    r"[0-9]{1,3}|(MIG-|GPU-|MIG-GPU-)[0-9a-f/-]+|([0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}(\.[0-7])?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Present:
    """How many GPUs a host has, and what says so."""

    count: int
    source: str


def expected(own: Mapping[str, Any]) -> Present | None:
    """Return how many GPUs the inventory says that a host has, or None."""
    count = str(own.get(EXPECTED))
    found = int(count) if re.fullmatch(r"[0-9]{1,4}", count) else 0
    return Present(found, f"{EXPECTED} = {found}") if found else None


def found(probe: Mapping[str, Any]) -> Present | None:
    """Return how many GPUs the probe of a host found, whether or not their driver works; None for none."""
    on_bus = [
        one
        for one in probe.get("nvidia_pci") or ()
        if one.get("kind") == "gpu" and not str(one.get("driver")).startswith("vfio")
    ]
    count = max(len(on_bus), len(probe.get("gpus") or ()))
    return Present(count, f"the host has {count} GPU{'s' if count > 1 else ''}") if count else None


def check(service: Service, present: Present | None) -> Iterator[Finding]:
    """Find GPUs that are none, and those that are not there."""
    names = list(service.gpus)
    if len(set(names)) < len(names):
        yield _finding(service, "lists the same GPU twice", names)
    for name in names:
        if not variables.is_deferred(name) and not _GPU.fullmatch(name):
            hint = "list each GPU by its index, its UUID or the beginning of it, or its PCI address"
            yield _finding(service, f"contains {name or 'an empty item'}, which is not a GPU", names, hint)
    device = service.settings.get(f"{service.engine.role}_device")
    if names and device == "cpu":
        reason = f"is set, but {service.engine.role}_device = cpu keeps the service off the GPUs"
        yield _finding(service, reason, names, "remove one of the two")
    if present:
        yield from _absent(service, names, present)
    if device != "cpu":
        yield from _shared(service, names, present)


def _absent(service: Service, names: list[str], present: Present) -> Iterator[Finding]:
    """Find indices beyond the GPUs of the host, which are counted from 0."""
    for name in names:
        if name.isdecimal() and int(name) >= present.count:
            there = "only GPU 0" if present.count == 1 else f"the GPUs 0 to {present.count - 1}"
            reason = f"contains {name}, but there {'is' if present.count == 1 else 'are'} {there}"
            yield _finding(service, f"{reason} ({present.source})", names)


def _shared(service: Service, names: list[str], present: Present | None) -> Iterator[Finding]:
    """Find variables that need more GPUs than the service gets."""
    listed = Present(len(names), f"serve_gpus = {', '.join(names)}") if names else None
    has = listed or present
    if has is None or any(map(variables.is_deferred, names)):
        return
    for kind, variable in service.engine.gpu_variables.items():
        value = service.settings.get(variable)
        if value is None or variables.is_deferred(value):
            continue
        needed = _needed(kind, value)
        if needed > has.count:
            reason = f"needs {needed} GPU{'s' if needed > 1 else ''}, but the service has {has.count}"
            yield Finding(variable, f"{reason} ({has.source})", value, True, item=service.item)


def _needed(kind: str, value: object) -> int:
    """Return how many GPUs a variable needs: a number of them, the share of each, or the index of one."""
    if kind == "shares":
        return len(str(value).split(","))
    number = int(str(value)) if re.fullmatch(r"[0-9]{1,6}", str(value)) else 0
    return number + 1 if kind == "index" else number


def _finding(service: Service, reason: str, names: list[str], hint: str = "") -> Finding:
    return Finding("serve_gpus", reason, names, True, hint, service.item)
