# SPDX-License-Identifier: Apache-2.0
"""Resolve a host's services from its inventory variables, by the same rules as `provision plan`.

Runs on the controller. Sets the facts `provision_services` and `provision_models`; fails with every variable
that is wrong once its templates are resolved.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

# In a checkout, `ansible-playbook` may belong to a Python in which the package is not installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from provisioner.fleet import engines, gpus, rules, services, variables
from provisioner.fleet.files import LockedError
from provisioner.fleet.findings import Finding
from provisioner.fleet.models import Model
from provisioner.fleet.services import Service


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """Turn `serve_*` variables into the list that every role reads."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS: frozenset[str] = frozenset()

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the facts, or the findings as one failure."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = task_vars or {}
        catalog = variables.load()
        folder = Path(str(given.get("inventory_dir") or "."))
        own = {name: self._templar.template(given[name]) for name in given if name in catalog.variables}
        requested = {str(own.get("serve_engine"))} | {
            str(item.get("serve_engine"))
            for item in own.get(services.LIST_VARIABLE) or ()
            if isinstance(item, Mapping)
        }
        defaults = {
            name: self._defaults(engine.role) for name, engine in engines.load().items() if name in requested
        }
        probe = (given.get("ansible_facts") or {}).get("host_probe") or {}
        resolved = rules.resolve(own, defaults, folder, gpus.found(probe), self._unlock)
        if resolved.findings:
            return {**result, **_failure(resolved.findings)}
        facts = {
            # With a cache of facts, those of an earlier run would be added to.
            "release_archives": {},
            "python_envs": {},
            "provision_services": [_service(service, folder) for service in resolved.services],
            "provision_models": _models(resolved.services),
        }
        return {**result, "changed": False, "ansible_facts": facts}

    def _unlock(self, path: Path) -> bytes:
        """Return the content of a file that is encrypted by Ansible's vault; raises LockedError."""
        try:
            return Path(self._loader.get_real_file(str(path))).read_bytes()
        except AnsibleError as error:
            raise LockedError("is encrypted, and no password of the vault fits") from error

    def _defaults(self, role: str) -> dict[str, Any]:
        return {
            name: self._templar.template(_trusted(value)) for name, value in variables.defaults(role).items()
        }


def _trusted(value: Any) -> Any:
    """Return a shipped default with its templates allowed to run."""
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, list):
        return [_trusted(item) for item in value]
    if isinstance(value, dict):
        return {key: _trusted(item) for key, item in value.items()}
    return value


def _failure(findings: Sequence[Finding]) -> dict[str, Any]:
    lines = []
    for finding in findings:
        value = f" = {finding.value!r}" if finding.has_value else ""
        hint = f" ({finding.hint})" if finding.hint else ""
        lines.append(f"{finding.variable}{value} {finding.reason}{hint}")
    return {
        "failed": True,
        "msg": "the inventory is not valid: " + "; ".join(lines),
        "provision": {"next": "fix these variables in the inventory and run it again"},
    }


def _service(service: Service, folder: Path) -> dict[str, Any]:
    flat = service.for_ansible()
    if flat.get("serve_api_key_file"):
        flat["serve_api_key_file"] = str(folder / Path(str(flat["serve_api_key_file"])).expanduser())
    return flat


def _models(found: tuple[Service, ...]) -> list[dict[str, Any]]:
    """Return each model once, with the names of the services that share it."""
    shared: dict[Model, list[str]] = {}
    for service in found:
        shared.setdefault(service.model, []).append(service.name)
    return [
        {
            "source": model.source,
            "model": model.name,
            "revision": model.revision,
            "include": list(model.include),
            "exclude": list(model.exclude),
            "format": model.format,
            "directory": model.directory,
            "allow_unsafe": model.allow_unsafe,
            "services": names,
        }
        for model, names in shared.items()
    ]
