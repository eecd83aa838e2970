# SPDX-License-Identifier: Apache-2.0
"""Map a version of CUDA to its package and NVIDIA's installer of it; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Mapping

from ..driver.packages import numbers
from ..host.fault import Fault

PACKAGES, RUNFILE = "packages", "runfile"
VERSION = re.compile(r"([1-9][0-9]*\.[0-9]+)(\.[0-9]+)?")
# Before 13.4, the name of an installer holds the driver that it carries.
INSTALLER = re.compile(r"cuda_([0-9]+\.[0-9]+\.[0-9]+)(_[0-9]+(\.[0-9]+)+)?_linux(_sbsa)?\.run")
SHA256 = re.compile(r"[0-9a-f]{64}")
LIST, DEFAULT, HASHES = "cuda_toolkit_versions", "cuda_toolkit_default", "cuda_toolkit_runfile_sha256"


@dataclass(frozen=True)
class Toolkit:
    """Identify one toolkit: a release such as 13.0, of an exact version if one is requested."""

    release: str
    exact: str
    source: str
    file: str = ""
    sha256: str = ""

    @property
    def package(self) -> str:
        """Return the name of its package."""
        return "cuda-toolkit" + suffix(self.release)

    def __str__(self) -> str:
        return f"CUDA toolkit {self.exact or self.release}"


def suffix(release: str) -> str:
    """Return how the names of a release's own packages end."""
    return "-" + release.replace(".", "-")


def read(wanted: Mapping[str, Any]) -> list[Toolkit]:
    """Return the requested toolkits; raises Fault about the value that is wrong."""
    found: dict[str, Toolkit] = {}
    for text in wanted["versions"]:
        match = VERSION.fullmatch(text)
        if not match:
            raise Fault(
                f"{LIST} contains {text!r}, which is not a version of CUDA", "give each as 13.0 or as 13.0.2"
            )
        release, exact = match.group(1), text if match.group(2) else ""
        if release in found:
            raise Fault(
                f"{LIST} contains CUDA {release} twice, and both would be in one directory",
                f"remove {found[release].exact or release} or {text}",
            )
        found[release] = _toolkit(release, exact, wanted)
    return list(found.values())


def default(wanted: Mapping[str, Any], toolkits: list[Toolkit]) -> Toolkit | None:
    """Return the toolkit that /usr/local/cuda points to."""
    asked = wanted["default"]
    if not asked:
        return toolkits[0] if toolkits else None
    for toolkit in toolkits:
        if asked in (toolkit.release, toolkit.exact):
            return toolkit
    raise Fault(
        f"{DEFAULT} is {asked!r}, which is not among {LIST}: {', '.join(wanted['versions']) or 'none'}",
        f"set it to one of them, or leave {DEFAULT} out for the first",
    )


def _toolkit(release: str, exact: str, wanted: Mapping[str, Any]) -> Toolkit:
    if wanted["source"] == PACKAGES:
        return Toolkit(release, exact, PACKAGES)
    file, sha256 = installer(exact or release, wanted["runfiles"], wanted["arch"])
    found = INSTALLER.fullmatch(file)
    return Toolkit(release, found.group(1) if found else exact, RUNFILE, file, sha256)


def installer(version: str, runfiles: Mapping[str, str], arch: str) -> tuple[str, str]:
    """Return name and hash of the installer of a version, of a release the newest that is known."""
    known: dict[str, str] = {}
    for name, sha256 in runfiles.items():
        found = INSTALLER.fullmatch(name)
        if not found or not SHA256.fullmatch(str(sha256).strip().lower()):
            raise Fault(
                f"{HASHES} contains {name!r}: {sha256!r}, which is not an installer of CUDA with its sha256",
                "write the name as NVIDIA does, such as cuda_13.0.2_580.95.05_linux.run, and 64 hex digits",
            )
        if bool(found.group(4)) == (arch == "aarch64"):
            known[found.group(1)] = name
    fitting = [one for one in known if one == version or one.startswith(f"{version}.")]
    if not fitting:
        ending = "linux_sbsa.run" if arch == "aarch64" else "linux.run"
        raise Fault(
            f"no sha256 is known of an installer of CUDA {version} for {arch}; known are "
            f"{', '.join(sorted(known, key=numbers))}",
            f"add one to {HASHES}, as cuda_{version}…_{ending} with its sha256, or use one of these",
        )
    name = known[max(fitting, key=numbers)]
    return name, str(runfiles[name]).strip().lower()
