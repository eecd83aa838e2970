# SPDX-License-Identifier: Apache-2.0
"""Find the Python of a host that runs our programs: the one of its variables, or the one that roles find."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping
from typing import Any

from provisioner import content
from provisioner.errors import HostError
from provisioner.plain import one_line

VARIABLE = "ansible_python_interpreter"
# Older ones cannot read the programs at all: their syntax is newer.
MINIMUM = "3.8"
NO_PYTHON = "no_python"
# Where a Python is that may be too old; it is only asked for its version.
PLACES = ("/usr/bin/python3", "/usr/libexec/platform-python")

# Without Python the shell reports that itself, with what little it can find out about the host.
_GIVEN = """\
%(given)s -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1 && exec %(given)s -I -
older=$(%(given)s -c '%(ask)s' 2>/dev/null)
"""
_FOUND = """\
found=$(%(find)s
)
[ -n "$found" ] && exec "${found#python=}" -I -
older=
for python in %(places)s; do
  [ -n "$older" ] || older=$("$python" -c '%(ask)s' 2>/dev/null)
done
"""
_REPORT = """\
. /etc/os-release
read -r up _ </proc/uptime
printf '{"no_python": true, "os": "%s", "uptime_s": %s, "older": "%s"}' "$PRETTY_NAME" "${up%%.*}" "$older"
"""
_ASK = 'import platform, sys; print("%s (%s)" % (platform.python_version(), sys.executable))'


class NoPython(HostError):
    """Report that a host has no Python that is new enough yet: for all else it may be in order."""


def command(variables: Mapping[str, Any]) -> str:
    """Return the shell script that starts the host's Python, with its program on stdin."""
    given = _given(variables)
    if given:
        middle = _GIVEN % {"given": shlex.join(given), "ask": _ASK}
    else:
        middle = _FOUND % {"find": _finder(), "places": shlex.join(PLACES), "ask": _ASK}
    return f"{middle}{_REPORT}"


def explain(document: Mapping[str, Any], variables: Mapping[str, Any]) -> HostError:
    """Return the error of a host on which no Python could be started."""
    name, older = one_line(document["os"]), one_line(document.get("older", ""))
    given = _given(variables)
    if given:
        there = f"Python {older}" if older else "not a Python that can be run"
        return HostError(
            f"{VARIABLE} is {shlex.join(given)}, which is {there}; {MINIMUM} or newer is required",
            f"set {VARIABLE} to a newer Python of the host, or remove it to have one found",
        )
    if older:
        return NoPython(
            f"{name} has only Python {older}; {MINIMUM} or newer is required, so nothing else can be checked",
            "provision apply installs a newer one beside it; or install one by hand, such as python3.11",
        )
    return NoPython(
        f"{name} has no Python, so nothing else can be checked",
        "provision apply installs it; or install python3 by hand",
    )


def _given(variables: Mapping[str, Any]) -> list[str]:
    """Return the Python that the inventory sets, as arguments; for auto, Ansible finds one itself."""
    given = str(variables.get(VARIABLE) or "")
    return [] if given.startswith("auto") else shlex.split(given)


@functools.cache
def _finder() -> str:
    return (content.roles() / "host_base/files/find_python.sh").read_text(encoding="utf-8")
