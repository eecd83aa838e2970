# SPDX-License-Identifier: Apache-2.0
"""Lay out the packages of NVIDIA's container toolkit; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from simulated_gpu.vendor.package import Content, Copy, Link, Package, Text
from simulated_gpu.vendor.parts import SOURCE, UNITS, Build

ENABLE = """\
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl enable --now nvidia-cdi-refresh.path nvidia-cdi-refresh.service || true
fi
"""
DISABLE = "if [ -d /run/systemd/system ]; then systemctl disable --now nvidia-cdi-refresh.path || true; fi\n"
RUNTIME = '#!/bin/sh\n# A stand-in: it hands over to the runtime that is there.\nexec runc "$@"\n'


def _library(build: Build, version: str) -> dict[str, Content]:
    name = f"{build.libraries}/libnvidia-container.so"
    return {
        f"{name}.{version}": Copy(build.folder / "stub.so"),
        f"{name}.1": Link(f"libnvidia-container.so.{version}"),
    }


def _cli(_: Build, version: str) -> dict[str, Content]:
    says = f'#!/bin/sh\necho "cli-version: {version} (simulated)"\n'
    return {"/usr/bin/nvidia-container-cli": Text(says, 0o755)}


def _ctk(_: Build, version: str) -> dict[str, Content]:
    text = (SOURCE / "nvidia-ctk").read_text().replace("@VERSION@", version)
    return {"/usr/bin/nvidia-ctk": Text(text, 0o755)}


def _refresh(*_: object) -> dict[str, Content]:
    names = ("nvidia-cdi-refresh.service", "nvidia-cdi-refresh.path")
    return {f"{UNITS}/{name}": Text((SOURCE / name).read_text()) for name in names}


def _runtime(*_: object) -> dict[str, Content]:
    return {"/usr/bin/nvidia-container-runtime": Text(RUNTIME, 0o755)}


PARTS: Mapping[str, Callable[[Build, str], dict[str, Content]]] = {
    "library": _library,
    "cli": _cli,
    "ctk": _ctk,
    "refresh": _refresh,
    "runtime": _runtime,
}


def packages(table: Mapping[str, Any], version: str, build: Build) -> list[Package]:
    """Return the four packages of one version; each needs at least this version of the others."""
    return [_package(row, version, build) for row in table["packages"]]


def _package(row: Mapping[str, Any], version: str, build: Build) -> Package:
    files: dict[str, Content] = {}
    for part in row["holds"]:
        files |= PARTS[part](build, version)
    form = "{} >= {}-1" if build.redhat else "{} (>= {}-1)"
    names = ("posttrans", "preun") if build.redhat else ("postinst", "prerm")
    scripts = dict(zip(names, (ENABLE, DISABLE), strict=True)) if "refresh" in row["holds"] else {}
    return Package(
        row["name"],
        version,
        "1",
        f"NVIDIA container toolkit {version}",
        files=files,
        scripts=scripts,
        depends=tuple(form.format(name, version) for name in row.get("needs", ())),
    )
