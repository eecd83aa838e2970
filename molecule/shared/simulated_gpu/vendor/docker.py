# SPDX-License-Identifier: Apache-2.0
"""Lay out Docker's own packages; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from simulated_gpu.vendor.package import Content, Package, Text
from simulated_gpu.vendor.parts import SOURCE, UNITS

FOLDER = SOURCE / "docker"


def _daemon(version: str) -> dict[str, Content]:
    text = (FOLDER / "dockerd").read_text().replace("@VERSION@", version)
    unit = (FOLDER / "docker.service").read_text()
    return {"/usr/bin/dockerd": Text(text, 0o755), f"{UNITS}/docker.service": Text(unit)}


def _command(version: str) -> dict[str, Content]:
    return {"/usr/bin/docker": Text(f"#!/bin/sh\necho 'Docker version {version} (simulated)'\n", 0o755)}


PARTS: Mapping[str, Callable[[str], dict[str, Content]]] = {"daemon": _daemon, "command": _command}


def packages(table: Mapping[str, Any], major: int) -> list[Package]:
    """Return the packages for a major release of Red Hat's family."""
    return [_package(row, table["version"], major) for row in table["packages"]]


def _package(row: Mapping[str, Any], version: str, major: int) -> Package:
    files: dict[str, Content] = {}
    for part in row["holds"]:
        files |= PARTS[part](version)
    return Package(
        row["name"],
        version,
        f"1.el{major}",
        row["name"],
        epoch=row.get("epoch", ""),
        files=files,
        depends=tuple(row.get("needs", ())),
    )
