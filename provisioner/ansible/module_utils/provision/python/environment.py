# SPDX-License-Identifier: Apache-2.0
"""Decide which Python builds a virtual environment, where it is, and whether it is complete and in use."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..host.commands import CommandFault, call
from ..host.fault import Fault
from ..host.paths import UNITS, in_use, text_of

MARKER = ".provision-complete"
INTERPRETERS = ("/usr/bin/python{}", "/usr/local/bin/python{}")


@dataclass(frozen=True)
class Interpreter:
    """Describe a Python of the host."""

    version: str
    executable: str
    usable: bool


def version_key(version: str) -> tuple[int, ...]:
    """Return a version as numbers, so that 3.10 is newer than 3.9."""
    return tuple(int(part) for part in version.split("."))


def system_version(python3: Path = Path("/usr/bin/python3")) -> str:
    """Return the version of the distribution's own Python, read from the name that it links to."""
    found = re.fullmatch(r"python(3\.\d+)", Path(os.path.realpath(python3)).name)
    return found.group(1) if found else ""


def choose_version(asked: str, own: str, limits: tuple[str, str], candidates: list[str]) -> str:
    """Return the version to build with: the requested one, else the distribution's, else a packaged one."""
    minimum, maximum = limits
    for version in filter(None, [asked] if asked else [own, *candidates]):
        if version_key(minimum) <= version_key(version) <= version_key(maximum or version):
            return version
    wanted = f"from {minimum} to {maximum}" if maximum else f"{minimum} or newer"
    raise Fault(
        f"this host has no Python {wanted}: found {asked or own or 'none'}",
        f"install a Python {wanted} on the host and set python_env_python to its version",
    )


def find_interpreter(version: str, given: str = "") -> Interpreter:
    """Return the given interpreter or the host's of a version, and whether it can make environments."""
    places = [given] if given else [pattern.format(version) for pattern in INTERPRETERS]
    executable = next((place for place in places if os.access(place, os.X_OK)), given)
    try:
        # Some distributions package these two separately.
        asked = call(executable, "-I", "-c", "import ensurepip, venv", seconds=20)
    except CommandFault:
        return Interpreter(version, executable, usable=False)
    return Interpreter(version, executable, asked.returncode == 0)


def directory_name(name: str, lock_sha256: str, python: str, installer: str) -> str:
    """Return the name of the environment's directory; any change of its inputs changes it."""
    digest = hashlib.sha256(f"{lock_sha256}\n{python}\n{installer}".encode()).hexdigest()
    return f"{name}-{digest[:12]}"


def is_complete(directory: Path, lock_sha256: str) -> bool:
    """Return whether the environment was finished and its interpreter still exists."""
    recorded = text_of(directory / MARKER).strip()
    there = os.access(str(directory / "bin" / "python"), os.X_OK)
    return bool(recorded) and recorded == lock_sha256 and there


def check_lock(lock: Path, expected: str) -> None:
    """Refuse a requirements file that is not the requested one."""
    actual = hashlib.sha256(lock.read_bytes()).hexdigest()
    if actual != expected:
        raise Fault(f"{lock} has sha256 {actual}, expected {expected}", "apply again")


def unused(root: Path, name: str, keep: list[str], units: Path = UNITS) -> list[Path]:
    """List the environments of that name that nothing uses."""
    pattern = re.compile(re.escape(name) + r"-[0-9a-f]{12}")
    found = (path for path in sorted(root.glob(name + "-*")) if pattern.fullmatch(path.name))
    return [path for path in found if str(path) not in keep and not in_use(path, units)]
