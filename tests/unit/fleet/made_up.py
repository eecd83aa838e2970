# SPDX-License-Identifier: Apache-2.0
"""Resolve words of the made-up engine as both the command line and the action plugin do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provisioner.fleet import engines, rules, variables
from provisioner.fleet.findings import Finding
from provisioner.fleet.services import Service

ABACUS = {"serve_engine": "abacus", "serve_model": "owner/beads"}


def resolve(**given: Any) -> tuple[tuple[Service, ...], list[Finding]]:
    defaults = {name: variables.defaults(engine.role) for name, engine in engines.load().items()}
    resolved = rules.resolve({**ABACUS, **given}, defaults, Path("/nowhere"))
    return resolved.services, list(resolved.findings)


def service(**given: Any) -> Service:
    (found,), findings = resolve(**given)
    assert findings == []
    return found


def reasons(**given: Any) -> list[str]:
    _, findings = resolve(**given)
    return [f"{found.variable}: {found.reason}; {found.hint}".removesuffix("; ") for found in findings]
