# SPDX-License-Identifier: Apache-2.0
"""Compare an engine's service on the host with what is wanted, and change nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Mapping

from ..host import managed
from ..jobs import program
from . import files as engine_files
from . import gate, inputs, ports
from . import unit as engine_unit
from .files import ManagedFile
from .unit import UnitStatus


@dataclass(frozen=True)
class Service:
    """Hold what the controller wants of one service."""

    unit: str
    user: str
    groups: list[str]
    unit_text: str
    environment_text: str
    api_key_file: str | None
    api_key_pending: bool
    key_variable: str

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Service:
        """Return the service that a module's parameters describe."""
        return cls(**{field.name: params[field.name] for field in fields(cls)})

    def files(self) -> list[ManagedFile]:
        """Return the files that the service needs, in the order in which they are safe to write."""
        packed = program.pack(gate.__name__)
        environment = engine_files.environment_path(self.unit)
        found = [
            ManagedFile(engine_files.GATE, packed, 0o755, kind="program"),
            ManagedFile(environment, self.environment_text.encode(), 0o640, self.user),
            ManagedFile(managed.UNITS / self.unit, self.unit_text.encode(), 0o644),
        ]
        if self.api_key_file:
            # In check mode, a new key has not been copied: all that is known is that it differs.
            key = "pending" if self.api_key_pending else Path(self.api_key_file).read_text(encoding="utf-8")
            text = engine_files.key_line(self.key_variable, key.strip())
            path = engine_files.key_path(self.unit)
            found.append(ManagedFile(path, text.encode(), 0o640, self.user, kind="key"))
        return found


@dataclass(frozen=True)
class Inspection:
    """Hold what was found on the host."""

    status: UnitStatus
    port: int
    holder: ports.Holder | None
    wrong: list[ManagedFile]
    surplus: list[Path]
    stale: list[str]
    user_right: bool

    @property
    def action(self) -> str:
        """Return what systemd has to do."""
        if not (self.status.serving or self.status.starting):
            return "start"
        return "restart" if self.stale else ""

    @property
    def reloads(self) -> bool:
        """Return whether systemd has to read its units again."""
        return self.status.needs_reload or any(file.path.suffix == ".service" for file in self.wrong)

    @property
    def changed(self) -> bool:
        """Return whether anything differs from what is wanted."""
        return bool(self.wrong or self.surplus or self.action) or not (
            self.user_right and self.status.enabled
        )


def inspect(service: Service) -> Inspection:
    """Compare the host with what is wanted."""
    wanted, given = service.files(), gate.given_by(service.unit_text)
    status = engine_unit.status(service.unit)
    found = inputs.read(service.unit, given.model_dir)
    holder = ports.holder(given.address, given.port)
    keys = (engine_files.key_path(service.unit), engine_files.secret_path(service.unit))
    return Inspection(
        status=status,
        port=given.port,
        holder=None if holder and holder.is_of(status.control_group) else holder,
        wrong=[file for file in wanted if not file.is_right()],
        surplus=[] if service.api_key_file else [file for file in keys if file.exists()],
        stale=found.changed(desired_digests(wanted, found.now["model files"])),
        user_right=engine_files.user_is_right(service.user, service.groups),
    )


def desired_digests(wanted: list[ManagedFile], model: str) -> dict[str, str]:
    """Return what the gate will record when the service starts from these files."""
    found = {file.path.suffix: hashlib.sha256(file.content).hexdigest() for file in wanted}
    return {
        "unit file": found[".service"],
        "environment": found[".env"],
        "API key": found.get(".key", "absent"),
        "model files": model,
    }
