# SPDX-License-Identifier: Apache-2.0
"""Find where release archives are, whether one is complete, and which of them are unused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..host.fault import Fault
from ..host.files import read_json, write_json
from ..host.paths import UNITS, in_use

MANIFEST = ".provision-archive.json"
# A directory on its way in or out has a name that no version has.
UNFINISHED = (".partial", ".old")
NAME = r"[a-z0-9][a-z0-9_-]*"
VERSION = r"[A-Za-z0-9][A-Za-z0-9.+_-]*"
SHA256 = r"[0-9a-f]{64}"


@dataclass(frozen=True)
class Wanted:
    """Identify an archive: two equal ones unpack to the same files."""

    name: str
    version: str
    sha256: str
    executable: str

    @classmethod
    def of(cls, values: dict[str, Any]) -> Wanted:
        """Build one from a mapping that may hold more, and refuse what could lead elsewhere."""
        given = {key: values[key] for key in ("name", "version", "sha256", "executable")}
        given["sha256"] = given["sha256"].strip().lower()
        path = Path(given["executable"])
        inside = path.parts and not path.is_absolute() and ".." not in path.parts
        checks = {
            "name": (re.fullmatch(NAME, given["name"]), "lower-case letters, digits, - and _"),
            "version": (re.fullmatch(VERSION, given["version"]), "letters, digits and . + - _"),
            "sha256": (re.fullmatch(SHA256, given["sha256"]), "the 64 hexadecimal digits of its hash"),
            "executable": (inside, "a path inside the archive, such as bin/server"),
        }
        for key, (good, meaning) in checks.items():
            if not good:
                text = f"release_archive_{key} is {given[key]!r}, which is not valid"
                raise Fault(text, f"set it to {meaning}")
        return cls(**given)

    def below(self, root: Path) -> Path:
        """Return its directory below a root."""
        return root / self.name / f"{self.version}-{self.sha256[:12]}"

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def write_manifest(directory: Path, wanted: Wanted, files: dict[str, int]) -> None:
    """Record in a directory what it contains."""
    about = {"name": wanted.name, "version": wanted.version, "sha256": wanted.sha256}
    write_json(directory / MANIFEST, {"format": 1, **about, "files": files}, 0o644)


def doubt(directory: Path, wanted: Wanted) -> str:
    """Return why a directory may not contain the archive, or nothing. Reads only the manifest."""
    if not directory.is_dir():
        return "it does not exist"
    manifest = read_json(directory / MANIFEST, {})
    if not isinstance(manifest, dict) or manifest.get("sha256") != wanted.sha256:
        return "it has no manifest of this archive"
    for name, size in manifest["files"].items():
        if not (directory / name).is_file() or (directory / name).lstat().st_size != size:
            return f"{name} is missing or has another size"
    return ""


def check_executable(directory: Path, wanted: Wanted) -> None:
    """Refuse a complete archive that lacks the required program."""
    if (directory / wanted.executable).is_file():
        return
    files = sorted(read_json(directory / MANIFEST, {}).get("files", ()))
    alike = [name for name in files if Path(name).name == Path(wanted.executable).name]
    raise Fault(
        f"the archive of {wanted} does not contain {wanted.executable}: "
        f"it has {', '.join((alike or files)[:5])}",
        "check release_archive_executable, and that the URL and sha256 are those of the right build",
    )


def unfinished(root: Path, name: str) -> list[Path]:
    """List what a broken run left beside the versions."""
    return sorted(path for ending in UNFINISHED for path in (root / name).glob(f".*{ending}"))


def unused(root: Path, name: str, keep: list[str], units: Path = UNITS) -> list[Path]:
    """List the versions of an archive that neither a unit nor a process uses."""
    versions = (
        path for path in (root / name).glob("*-*") if re.fullmatch(f"{VERSION}-[0-9a-f]{{12}}", path.name)
    )
    return [path for path in sorted(versions) if str(path) not in keep and not in_use(path, units)]
