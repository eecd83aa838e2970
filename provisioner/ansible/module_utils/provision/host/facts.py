# SPDX-License-Identifier: Apache-2.0
"""Read facts about a host and its machine from files and programs."""

from __future__ import annotations

import ipaddress
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from .commands import CommandFault, call
from .paths import open_files, text_of

COMMAND_SECONDS = 10
DF_SECONDS = 5
CAP_SYS_TIME = 1 << 25
LISTEN = "0A"
REDHAT = ("rocky", "rhel", "centos", "almalinux", "fedora")
# What is mounted there is no storage a role could use; containers mount single files below /etc.
PSEUDO = ("/proc", "/sys", "/dev", "/run", "/snap", "/etc/", "/boot/efi")
TIME_SERVICES = ("chronyd", "chrony", "systemd-timesyncd", "ntpd", "ntpsec")


def run(argv: list[str], seconds: float = COMMAND_SECONDS) -> str:
    """Return what a program prints, or nothing when it is missing or hangs."""
    try:
        return call(*argv, seconds=seconds).stdout.strip()
    except CommandFault:
        return ""


def read(path: str) -> str:
    """Return a small file's text, or nothing if there is no file."""
    return text_of(Path(path)).strip()


def parse_os_release(text: str) -> dict[str, Any]:
    """Return id, name, version, major and family; the version as text, its first number as a number."""
    found = re.findall(r"(?m)^(\w+)=(.*)$", text)
    values = {key: " ".join(shlex.split(value)) for key, value in found}
    version = values.get("VERSION_ID", "")
    major = version.split(".")[0]
    like = [values.get("ID", ""), *values.get("ID_LIKE", "").split()]
    return {
        "id": values.get("ID", ""),
        "name": values.get("PRETTY_NAME", values.get("NAME", "")),
        "version": version,
        "major": int(major) if major.isdigit() else 0,
        "family": "redhat" if any(word in REDHAT for word in like) else "debian",
    }


def os_release() -> dict[str, Any]:
    """Return the distribution as its own file describes it."""
    return parse_os_release(read("/etc/os-release") or read("/usr/lib/os-release"))


def parse_meminfo(text: str, field: str = "MemTotal") -> int:
    """Return the size of memory in bytes, or another field of it."""
    found = re.search(rf"(?m)^{field}: *([0-9]+)", text)
    return int(found.group(1)) * 1024 if found else 0


def parse_mounts(text: str) -> list[tuple[str, str]]:
    """Return device and mount point of file systems that store data, the root first."""
    found = {}
    for device, point, *_ in (line.split() for line in text.splitlines() if len(line.split()) > 2):
        mount = point.replace("\\040", " ")
        if mount == "/" or ((device.startswith("/dev/") or ":" in device) and not mount.startswith(PSEUDO)):
            found[mount] = device
    # The last mount on a point hides the ones before.
    return sorted(((device, mount) for mount, device in found.items()), key=lambda pair: pair[1])


def parse_address(text: str) -> tuple[str, int]:
    """Return address and port from the kernel's notation: groups of four bytes in host order."""
    host, _, port = text.partition(":")
    step = -1 if sys.byteorder == "little" else 1
    raw = b"".join(bytes.fromhex(host[at : at + 8])[::step] for at in range(0, len(host), 8))
    address = ipaddress.ip_address(raw)
    return str(getattr(address, "ipv4_mapped", None) or address), int(port, 16)


def listening_sockets(proc: Path) -> list[dict[str, Any]]:
    """List listening TCP sockets with the process that opened each, which has the lowest number."""
    pids = sorted((int(entry.name) for entry in proc.glob("[0-9]*")), reverse=True)
    owners = {target: pid for pid in pids for target in open_files(proc / str(pid))}
    found = []
    for table in ("net/tcp", "net/tcp6"):
        for row in (line.split() for line in text_of(proc / table).splitlines()[1:]):
            if len(row) > 9 and row[3] == LISTEN:
                (address, port), pid = parse_address(row[1]), owners.get(f"socket:[{row[9]}]", 0)
                process = text_of(proc / str(pid) / "comm").strip() or "unknown"
                found.append({"address": address, "port": port, "pid": pid, "process": process})
    return sorted(found, key=lambda socket: (socket["port"], socket["address"]))


def is_container() -> bool:
    """Return whether the host is a container."""
    return run(["systemd-detect-virt", "--container"]) not in ("", "none")


def time_service() -> str:
    """Return the service that synchronises the clock, or `none`."""
    units = (f"{name}.service" for name in TIME_SERVICES)
    return next((unit for unit in units if run(["systemctl", "is-active", unit]) == "active"), "none")


def can_set_clock() -> bool:
    """Return whether this host can set its clock; a container cannot."""
    bounds = re.search(r"(?m)^CapBnd:\s*([0-9a-f]+)", read("/proc/self/status"))
    return bool(bounds and int(bounds.group(1), 16) & CAP_SYS_TIME)


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
