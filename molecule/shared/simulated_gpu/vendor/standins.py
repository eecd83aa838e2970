# SPDX-License-Identifier: Apache-2.0
"""Lay out what a Rocky host installs from its own repositories; pure but for dkms, which is the real one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simulated_gpu.vendor.package import Content, Copy, Link, Package, Text

NEEDED_BY_DKMS = ("kernel-devel", "gcc", "make", "kmod", "patch")


def rocky(rows: Sequence[Mapping[str, Any]], major: int) -> list[Package]:
    """Return the stand-ins of one repository."""
    return [_package(row, major) for row in rows]


def _package(row: Mapping[str, Any], major: int) -> Package:
    files: dict[str, Content] = {}
    if says := row.get("program"):
        files[f"/usr/bin/{row['name']}"] = Text(f"#!/bin/sh\necho '{says}'\n", 0o755)
    return Package(
        row["name"],
        row["version"],
        f"1.el{major}",
        row["name"],
        epoch=row.get("epoch", ""),
        files=files,
        depends=tuple(row.get("needs", ())),
        provides=tuple(row.get("provides", ())),
    )


def dkms(installed: Sequence[str], version: str, major: int) -> Package:
    """Return the real dkms, made of the files that Debian's package has put into the builder."""
    wanted = ("/usr/sbin/", "/usr/lib/dkms/", "/etc/dkms/", "/usr/libexec/dkms/")
    files: dict[str, Content] = {}
    for path in map(Path, installed):
        if not str(path).startswith(wanted) or path.is_dir():
            continue
        is_link = path.is_symlink()
        files[str(path)] = Link(str(path.readlink())) if is_link else Copy(path, path.stat().st_mode & 0o777)
    files["/var/lib/dkms/.simulated"] = Text("the real dkms, packed for rpm\n")
    return Package(
        "dkms", version, f"1.el{major}", "DKMS", any_arch=True, files=files, depends=NEEDED_BY_DKMS
    )
