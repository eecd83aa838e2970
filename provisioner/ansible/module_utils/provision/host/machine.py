# SPDX-License-Identifier: Apache-2.0
"""Look at the machine under a host's system: its clock, its file systems, and whether it is a container."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .facts import parse_os_release, run
from .paths import text_of

DF_SECONDS = 5
CAP_SYS_TIME = 1 << 25
TIME_SERVICES = (
    "chronyd.service",
    "chrony.service",
    "systemd-timesyncd.service",
    "ntpd.service",
    "ntpsec.service",
)


def read(path: str) -> str:
    """Return a small file's text, or nothing if there is no file."""
    return text_of(Path(path)).strip()


def os_release() -> dict[str, Any]:
    """Return the distribution as its own file describes it."""
    return parse_os_release(read("/etc/os-release") or read("/usr/lib/os-release"))


def is_container() -> bool:
    """Return whether the host is a container."""
    return run(["systemd-detect-virt", "--container"]) not in ("", "none")


def time_service() -> str:
    """Return the service that synchronises the clock, or `none`."""
    active = (unit for unit in TIME_SERVICES if run(["systemctl", "is-active", unit]) == "active")
    return next(active, "none")


def can_set_clock() -> bool:
    """Return whether this host can set its clock; a container cannot."""
    lines = read("/proc/self/status").splitlines()
    bounds = [int(line.split()[1], 16) for line in lines if line.startswith("CapBnd:")]
    return bool(bounds and bounds[0] & CAP_SYS_TIME)


def init_started() -> int:
    """Return the tick of the machine's clock at which the first process of the host started, 0 if unknown."""
    fields = read("/proc/1/stat").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 else 0


def file_system(path: str) -> dict[str, Any] | None:
    """Return mount point, size and free bytes of the file system of a path, None if it does not answer."""
    # df is another process, so a dead network mount costs a time limit and not the answer.
    line = run(["df", "-B1", "--output=size,avail,target", path], DF_SECONDS).splitlines()[-1:]
    size, free, mount = [*(line[0].split(None, 2) if line else ()), "", "", ""][:3]
    if not (size.isdigit() and free.isdigit()):
        return None
    return {"mount": mount, "size_bytes": int(size), "free_bytes": int(free)}
