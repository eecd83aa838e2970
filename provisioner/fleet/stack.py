# SPDX-License-Identifier: Apache-2.0
"""What a host's variables request: driver, CUDA toolkits, and the CUDA that its engines contain."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provisioner import content, documents
from provisioner.fleet import stack_table, variables
from provisioner.fleet.services import Service
from provisioner.fleet.stack_table import Reason

AUTO, ABSENT, IGNORED = "auto", "absent", "ignored"
OPEN, PROPRIETARY = "open", "proprietary"
PACKAGES, RUNFILE = "packages", "runfile"
RUN_TIME = "decided at run time"
VERSION = re.compile(r"([1-9][0-9]*\.[0-9]+)(\.[0-9]+)?")
DRIVER = re.compile(r"(?<![0-9.])([0-9]{3})(\.[0-9]+){0,2}(?![0-9.])")
_MODULES = {
    OPEN: "open modules",
    PROPRIETARY: "proprietary modules",
}


@dataclass(frozen=True)
class Driver:
    """The requested driver of a host; what only Ansible can know is None."""

    state: str | None
    source: str | None
    version: str | None
    modules: str | None
    hold: bool

    @property
    def branch(self) -> int | None:
        """Return the requested branch, if there is one and a driver is requested."""
        found = DRIVER.fullmatch(self.version or "") if self.state not in (ABSENT, IGNORED) else None
        return int(found.group(1)) if found else None

    def __str__(self) -> str:
        if self.state == ABSENT:
            return "no driver"
        if self.state == IGNORED:
            return "driver left as it is"
        if self.version is None or self.state is None:
            return f"driver {RUN_TIME}"
        version = f"driver {self.version or f'that works, else {default_branch()}'}"
        more = [self._modules()] + ["held"] * self.hold
        return f"{version} ({', '.join(more)})"

    def _modules(self) -> str:
        """Return the kind of kernel modules; where it is open, each branch has its own default."""
        if self.modules != AUTO:
            return _MODULES.get(self.modules or "", f"modules {RUN_TIME}")
        table, branch = stack_table.load(), self.branch or int(default_branch())
        if not table.open_since <= branch <= table.proprietary_until:
            return _MODULES[OPEN if branch > table.proprietary_until else PROPRIETARY]
        kind = OPEN if branch >= table.open_default_since else PROPRIETARY
        return f"{_MODULES[kind]} where the GPU allows"


@dataclass(frozen=True)
class Toolkits:
    """The requested CUDA toolkits of a host; None stands for a list that only Ansible can know."""

    versions: tuple[str, ...] | None
    default: str
    source: str | None

    def __str__(self) -> str:
        if self.versions is None:
            return f"CUDA toolkit {RUN_TIME}"
        return f"CUDA toolkit {', '.join(self.versions)}" if self.versions else "no CUDA toolkit"


@dataclass(frozen=True)
class EngineCuda:
    """The CUDA of one service; `shipped` is false for other builds, about which nothing is known."""

    title: str
    unit: str
    device: str
    device_variable: str
    shipped: bool
    unless: tuple[str, ...]
    cuda: tuple[str, ...]
    minimum_driver: str
    minimum_compute_capability: str

    def __str__(self) -> str:
        if not self.shipped:
            return f"{self.title} (not the standard build, so its CUDA was not checked)"
        needs = f" (driver ≥ {self.minimum_driver})" if self.minimum_driver else ""
        return f"{self.title} contains CUDA {' or '.join(self.cuda)}{needs}"


@dataclass(frozen=True)
class Chain:
    """Driver, toolkits and engines of a host, with warnings and the facts behind them."""

    driver: Driver
    toolkits: Toolkits
    engines: tuple[EngineCuda, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        engines = dict.fromkeys(map(str, self.engines))
        return " · ".join([str(self.driver), str(self.toolkits), *engines])

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Return the rows of the table that this chain was compared with."""
        table = stack_table.load()
        found: dict[Reason, None] = {}
        if self.driver.modules == PROPRIETARY:
            found[table.proprietary_last] = None
        if self.driver.modules == OPEN:
            found[table.open_first] = None
        contained = [version for engine in self.engines if engine.shipped for version in engine.cuda]
        for version in (*(self.toolkits.versions or ()), *contained):
            if major := table.major(version):
                found |= dict.fromkeys(major.reasons)
        for version in self.toolkits.versions or ():
            if (release := release_of(version)) in table.releases:
                found[table.releases[release]] = None
        for engine in self.engines:
            if engine.shipped and engine.minimum_driver:
                statement = f"{engine.title} needs driver {engine.minimum_driver} or newer"
                found[Reason(statement, f"roles/engine_{_engine(engine)}/engine.yml")] = None
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Return what `plan --json` prints of it."""
        engines = [{**dataclasses.asdict(one), "text": str(one)} for one in self.engines]
        for one in engines:
            del one["device_variable"]
        return {
            "text": str(self),
            "driver": {**dataclasses.asdict(self.driver), "branch": self.driver.branch},
            "cuda_toolkit": dataclasses.asdict(self.toolkits),
            "engines": engines,
            "notes": list(self.notes),
            "reasons": [dataclasses.asdict(reason) for reason in self.reasons],
        }


def requested(given: Mapping[str, Any], services: Sequence[Service]) -> Chain:
    """Return what the variables of a host request."""
    driver, toolkit = _Variables("nvidia_driver", given), _Variables("cuda_toolkit", given)
    versions = toolkit.value("versions")
    return Chain(
        Driver(
            state=driver.text("state"),
            source=driver.text("source"),
            version=driver.text("version"),
            modules=driver.text("modules"),
            hold=str(driver.value("hold")).lower() not in ("false", "no", "off", "0"),
        ),
        Toolkits(
            versions=None if variables.is_deferred(versions) else _texts(versions),
            default=toolkit.text("default") or "",
            source=toolkit.text("source"),
        ),
        tuple(engine for service in services if (engine := _engine_cuda(service))),
    )


@functools.cache
def default_branch() -> str:
    """Return the branch for a host that has no driver, if the inventory requests none."""
    path = content.roles() / "nvidia_driver/files/branches.yml"
    return str(documents.read(path)["default"])


def release_of(version: str) -> str:
    """Return the release of a version, such as 13.0 of 13.0.2."""
    found = VERSION.fullmatch(version)
    return found.group(1) if found else ""


class _Variables:
    """Look up variables of a role: what the inventory sets, else the role's default."""

    def __init__(self, role: str, given: Mapping[str, Any]) -> None:
        self._role, self._given, self._defaults = role, given, variables.defaults(role)

    def value(self, name: str) -> Any:
        variable = f"{self._role}_{name}"
        value = self._given.get(variable)
        return self._defaults.get(variable) if value is None else value

    def text(self, name: str) -> str | None:
        value = self.value(name)
        return None if variables.is_deferred(value) else str(value or "")


def _engine_cuda(service: Service) -> EngineCuda | None:
    engine, settings = service.engine, service.settings
    variable = f"{engine.role}_device"
    device = str(settings.get(variable) or AUTO)
    if not engine.cuda or device == "cpu":
        return None
    others = [
        name
        for name, among in engine.cuda_unless.items()
        if settings.get(name) and (among is None or settings[name] in among)
    ]
    return EngineCuda(
        title=engine.title,
        unit=service.unit,
        device=device,
        device_variable=variable,
        shipped=not others,
        unless=tuple(engine.cuda_unless),
        cuda=engine.cuda,
        minimum_driver=engine.minimum_driver,
        minimum_compute_capability=engine.minimum_compute_capability,
    )


def _engine(engine: EngineCuda) -> str:
    return engine.device_variable.removeprefix("engine_").removesuffix("_device")


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
