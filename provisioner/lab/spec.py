# SPDX-License-Identifier: Apache-2.0
"""Turn an inventory's variables of a lab into a frozen description of what has to run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from provisioner.errors import LabError
from provisioner.lab import releases
from provisioner.lab.platforms import IMAGES
from provisioner.lab.releases import Release

HUB = "hub"
HUB_NAME = "hub.lab"
HUB_PORT = 8000
HUB_URL = f"http://{HUB_NAME}:{HUB_PORT}"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
DEFAULT_LAB = "lab"
DEFAULT_HUB_PORT = 2280


@dataclass(frozen=True)
class HostSpec:
    """Describe one throwaway host."""

    name: str
    port: int
    image: str = "debian13"
    releases: tuple[Release, ...] = ()


@dataclass(frozen=True)
class LabSpec:
    """Describe a lab: its hosts and the port of its hub."""

    name: str
    hosts: tuple[HostSpec, ...]
    hub_port: int = DEFAULT_HUB_PORT

    @property
    def ports(self) -> dict[str, int]:
        """Return the SSH port of every host."""
        return {host.name: host.port for host in self.hosts}

    @property
    def releases(self) -> tuple[Release, ...]:
        """Return the release archives that any host needs, each once."""
        return tuple(dict.fromkeys(release for host in self.hosts for release in host.releases))


def container(lab: str, host: str) -> str:
    """Return the name of a host's container."""
    return f"provision-lab-{lab}.{host}"


def from_inventory(hosts: Mapping[str, Mapping[str, Any]]) -> LabSpec:
    """Read a lab from the variables of the hosts in group `lab`; report every mistake at once."""
    wrong: list[str] = []
    found = tuple(_host(name, given, wrong) for name, given in hosts.items())
    names = {str(given.get("lab_name", DEFAULT_LAB)) for given in hosts.values()}
    hub_ports = {given.get("lab_hub_port", DEFAULT_HUB_PORT) for given in hosts.values()}
    if not found:
        wrong.append("group lab has no hosts")
    for variable, values in (("lab_name", names), ("lab_hub_port", hub_ports)):
        if len(values) > 1:
            wrong.append(f"{variable} differs between hosts: {', '.join(map(str, sorted(values, key=str)))}")
    wrong += [f"lab_name: {name!r} is not a valid name" for name in names if not NAME.fullmatch(name)]
    hub_port = next(iter(hub_ports), DEFAULT_HUB_PORT)
    wrong += _clashes([*((host.name, host.port) for host in found), (HUB, _number(hub_port))])
    if wrong:
        raise LabError(f"the lab in the inventory is not valid: {'; '.join(wrong)}", "fix the group [lab]")
    return LabSpec(names.pop(), found, _number(hub_port))


def _host(name: str, given: Mapping[str, Any], wrong: list[str]) -> HostSpec:
    port, image = _number(given.get("ansible_port", 0)), str(given.get("lab_image", "debian13"))
    if not NAME.fullmatch(name) or name == HUB:
        wrong.append(f"{name}: a lab host's name is of the form {NAME.pattern} and not {HUB!r}")
    if given.get("ansible_host") != "127.0.0.1":
        wrong.append(f"{name}: ansible_host must be 127.0.0.1")
    if not 1024 <= port <= 65535:
        wrong.append(f"{name}: ansible_port must be a number from 1024 to 65535")
    if image not in IMAGES:
        wrong.append(f"{name}: lab_image {image!r} is not one of {', '.join(IMAGES)}")
    return HostSpec(name, port, image, _releases(name, given.get("lab_releases", ()), wrong))


def _releases(name: str, asked: Any, wrong: list[str]) -> tuple[Release, ...]:
    items = asked.split(",") if isinstance(asked, str) else asked
    found = {item: releases.parse(str(item).strip()) for item in items if str(item).strip()}
    wrong += [
        f"{name}: lab_releases {item!r} is not of the form ollama=0.33.0"
        for item, release in found.items()
        if release is None
    ]
    return tuple(release for release in found.values() if release)


def _number(value: Any) -> int:
    return int(value) if str(value).isdigit() else 0


def _clashes(ports: list[tuple[str, int]]) -> list[str]:
    owners: dict[int, list[str]] = {}
    for name, port in ports:
        owners.setdefault(port, []).append(name)
    shared = {port: names for port, names in owners.items() if port and len(names) > 1}
    return [f"port {port} is used by {' and '.join(names)}" for port, names in shared.items()]
