# SPDX-License-Identifier: Apache-2.0
"""Find where conda and its Pythons are, who created a prefix, and which are unused."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..host.fault import Fault
from ..host.files import read_json, write_json
from ..host.paths import UNITS, in_use, text_of

# A prefix or a Python with the first is complete; one with only the second was not finished.
MARKER = ".provision-conda.json"
UNFINISHED = ".provision-conda-unfinished"
# A virtual environment's note of the Python that it was made with.
ORIGIN = ".provision-python"
CONDARC = ".condarc"
# What conda writes into the first line of its programs has room for no more.
LONGEST_PREFIX = 80
PATTERNS = {
    "provider": (r"[a-z][a-z0-9]*", "miniforge or miniconda"),
    "version": (r"[A-Za-z0-9][A-Za-z0-9.+_-]*", "the version as in the name of the installer"),
    "sha256": (r"[0-9a-f]{64}", "the 64 hexadecimal digits of the installer's hash"),
    "python": (r"3\.\d+\.\d+", "an exact version, such as 3.12.11"),
    "prefix": (r"(/[A-Za-z0-9._+-]+)+", "an absolute path of letters, digits and . _ + -"),
}
# Why a prefix that an interrupted run left is not complete.
UNFINISHED_REASON = "its installation was interrupted"
PACKAGE = re.compile(r"[A-Za-z0-9_.-]+=[^\s=<>!*|,]+(=[^\s=<>!*|,]+)?")
PYTHON_DIRECTORY = re.compile(r"python-3\.\d+\.\d+-[0-9a-f]{12}")


@dataclass(frozen=True)
class Wanted:
    """Identify a Python of conda: two equal ones have the same directory."""

    provider: str
    version: str
    sha256: str
    python: str
    packages: list[str]
    channels: list[str]
    place: str
    condarc: str

    @classmethod
    def of(cls, values: dict[str, Any]) -> Wanted:
        """Build one from a mapping that may hold more, and refuse what could lead elsewhere."""
        given = {key: values[key] for key in ("provider", "version", "python")}
        given["sha256"] = values["sha256"].strip().lower()
        own = f"{values['root']}/{given['provider']}-{given['version']}-{given['sha256'][:12]}"
        prefix = values["prefix"] or own
        for key, (pattern, meaning) in PATTERNS.items():
            value = {**given, "prefix": prefix}[key]
            if not re.fullmatch(pattern, value) or ".." in value:
                raise Fault(
                    f"python_env_conda_{key} is {value!r}, which is not valid", f"set it to {meaning}"
                )
        if len(prefix) > LONGEST_PREFIX:
            raise Fault(
                f"the prefix {prefix} is longer than the {LONGEST_PREFIX} letters that conda allows",
                "set python_env_conda_prefix to a shorter one",
            )
        loose = [package for package in values["packages"] if not PACKAGE.fullmatch(package)]
        if loose:
            raise Fault(
                f"python_env_conda_packages contains {loose[0]!r} without an exact version",
                "write each as name=version or name=version=build",
            )
        packages, channels = list(values["packages"]), list(values["channels"])
        text = condarc(values, prefix)
        return cls(**given, packages=packages, channels=channels, place=prefix, condarc=text)

    @property
    def prefix(self) -> Path:
        """Return conda's own directory."""
        return Path(self.place)

    @property
    def python_directory(self) -> Path:
        """Return the Python's directory; each list of packages or channels has another one."""
        text = "\n".join((self.python, *sorted(self.packages), "", *self.channels))
        digest = hashlib.sha256(text.encode()).hexdigest()
        return self.prefix / "envs" / f"python-{self.python}-{digest[:12]}"

    @property
    def interpreter(self) -> Path:
        """Return the program that makes virtual environments."""
        return self.python_directory / "bin" / f"python{self.python.rpartition('.')[0]}"

    @property
    def prefix_marker(self) -> dict[str, Any]:
        """Return the content of the prefix's marker."""
        return {"format": 1, "provider": self.provider, "version": self.version, "sha256": self.sha256}

    @property
    def python_marker(self) -> dict[str, Any]:
        """Return the content of the Python's marker."""
        return {"format": 1, "python": self.python, "packages": self.packages, "channels": self.channels}

    def __str__(self) -> str:
        return f"{self.provider} {self.version}"


def condarc(values: dict[str, Any], prefix: str) -> str:
    """Return the prefix's configuration; JSON is YAML as well."""
    settings: dict[str, Any] = {
        "channels": list(values["channels"]),
        "channel_priority": "strict",
        "pkgs_dirs": [f"{prefix}/pkgs"],
        "envs_dirs": [f"{prefix}/envs"],
        # Login shells stay as they were.
        "auto_activate_base": False,
        "auto_update_conda": False,
        "notify_outdated_conda": False,
        "report_errors": False,
    }
    for key in ("channel_alias", "custom_channels", "default_channels"):
        if values[key]:
            settings[key] = values[key]
    if values["ca_bundle"]:
        settings["ssl_verify"] = values["ca_bundle"]
    text = json.dumps(settings, indent=2, sort_keys=True)
    return f"# Written by provision; a change is undone.\n{text}\n"


def prefix_doubt(wanted: Wanted) -> str:
    """Return why the prefix is not complete, or nothing; refuse one that provision did not create."""
    prefix = wanted.prefix
    if not os.path.lexists(str(prefix)):
        return "it does not exist"
    if prefix.is_symlink() or not prefix.is_dir():
        raise Fault(f"{prefix} is not a directory", "set python_env_conda_prefix to another place")
    if not any(prefix.iterdir()):
        return "it does not exist"
    if not (prefix / MARKER).exists():
        if (prefix / UNFINISHED).exists():
            return UNFINISHED_REASON
        raise Fault(
            f"{prefix} exists and was not created by provision: it is left as it is",
            "set python_env_conda_prefix to another place, or move this one away",
        )
    marker = read_json(prefix / MARKER, {})
    if marker != wanted.prefix_marker:
        held = f"{marker.get('provider', 'another conda')} {marker.get('version', '')}".strip()
        raise Fault(
            f"{prefix} contains {held}, not {wanted} ({wanted.sha256[:12]}…): it is never changed",
            "remove python_env_conda_prefix, so that each version has its own place, or set it to a new one",
        )
    broken = [name for name in ("bin/conda", "bin/python") if not os.access(str(prefix / name), os.X_OK)]
    if broken:
        raise Fault(
            f"{prefix} is broken: its {broken[0]} cannot be run; it is left as it is",
            f"move it away, for example with 'mv {prefix} {prefix}.broken', then apply again",
        )
    return ""


def doubt(wanted: Wanted) -> str:
    """Return why the Python is not ready for use, or nothing."""
    why = prefix_doubt(wanted)
    if why:
        return f"{wanted.prefix}: {why}"
    directory = wanted.python_directory
    marked = read_json(directory / MARKER, {}) == wanted.python_marker
    if not marked or not os.access(str(wanted.interpreter), os.X_OK):
        return f"{directory}: it does not exist"
    same = text_of(wanted.prefix / CONDARC) == wanted.condarc
    return "" if same else f"{wanted.prefix / CONDARC}: its settings differ"


def remember(registry: Path, prefix: Path) -> None:
    """Note a prefix outside the root, so that it is found when it is unused."""
    known = read_json(registry, [])
    if str(prefix) not in known:
        write_json(registry, sorted([*known, str(prefix)]), 0o644)


def prefixes(root: Path, registry: Path) -> list[Path]:
    """List the prefixes that provision created, finished or not."""
    found = {*root.glob("*"), *map(Path, read_json(registry, []))}
    return sorted(path for path in found if (path / MARKER).is_file() or (path / UNFINISHED).is_file())


def origins(environments: Path, leaving: list[str]) -> set[str]:
    """Return the Pythons that virtual environments were made with; those of uv only help to create others."""
    notes = [note for note in environments.glob("*/" + ORIGIN) if str(note.parent) not in leaving]
    return {text_of(note).strip() for note in notes if not note.parent.name.startswith("uv-")}


def unused(root: Path, registry: Path, needed: set[str], units: Path = UNITS) -> list[Path]:
    """List the prefixes, or only Pythons of them, that nothing needs and no unit or process uses."""
    rubbish = []
    for prefix in prefixes(root, registry):
        envs = sorted(path for path in (prefix / "envs").glob("*") if path.is_dir())
        idle = [
            path for path in envs if PYTHON_DIRECTORY.fullmatch(path.name) and not _used(path, needed, units)
        ]
        # An environment that a user has created in it is a use as well.
        if len(idle) == len(envs) and not _used(prefix, needed, units):
            rubbish.append(prefix)
        else:
            rubbish += idle
    return rubbish


def _used(path: Path, needed: set[str], units: Path) -> bool:
    return any(name.startswith(f"{path}/") for name in needed) or in_use(path, units)


def remove(path: Path) -> None:
    """Remove a prefix or a Python, which counts as not finished from the start of the removal."""
    if path.is_dir() and not path.is_symlink():
        (path / UNFINISHED).touch()
        (path / MARKER).unlink(missing_ok=True)
        shutil.rmtree(str(path))
