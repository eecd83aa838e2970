# SPDX-License-Identifier: Apache-2.0
"""Read what the lab uses of this machine: package mirror, certificates, limits, network, ports."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import platform
import re
import resource
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from provisioner.errors import LabError
from provisioner.lab import process

# Only what has been released gets updates, of security or otherwise, in suites of their own.
UNSTABLE = "unstable"
LOCAL_CERTIFICATES = Path("/usr/local/share/ca-certificates")
# podman lowers its own limit of processes to this; raising it again takes a privilege.
PODMAN_NPROC = 32768
NOFILE = 65536
REGISTRY = "PROVISION_LAB_REGISTRY"

GO_SETTINGS = ("GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE", "GOINSECURE")


@dataclass(frozen=True)
class Mirror:
    """The archives from which lab images are built and updated; by default mmdebstrap chooses."""

    archive: str | None = None
    security: str | None = None

    def lines(self, suite: str) -> tuple[str, ...]:
        """Return the lines of sources.list for one Debian suite, or none to leave it to mmdebstrap."""
        if not self.archive or not self.security:
            return ()
        if suite == UNSTABLE:
            return (f"deb {self.archive} {suite} main",)
        return (
            f"deb {self.archive} {suite} main",
            f"deb {self.archive} {suite}-updates main",
            f"deb {self.security} {suite}-security main",
        )


def state_dir(lab: str) -> Path:
    """Return the folder where a lab's keys live, so that they survive `down` and `up`."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(base) / "provision/lab" / lab


def cache_dir() -> Path:
    """Return the folder for what can be made again: the hub's models."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "provision/lab"


def runtime_dir() -> Path:
    """Return the folder for what ends with this boot."""
    # Root has one place, with or without a login session: a machine has only one namespace for its labs.
    base = "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return Path(base) / "provision-lab"


@functools.cache
def mirror() -> Mirror:
    """Return the Debian mirror that this machine uses; an empty one if it is not Debian or has none."""
    if os_release().get("ID") != "debian" or not shutil.which("apt-get"):
        return Mirror()
    fields = "$(REPO_URI) $(RELEASE)"
    listed = process.run(["apt-get", "indextargets", "--format", fields, "Created-By: Packages"], check=False)
    return parse_mirror(listed.text, os_release().get("VERSION_CODENAME", ""))


def parse_mirror(targets: str, codename: str) -> Mirror:
    """Choose the mirrors of a release from apt's list of `<address> <release>` lines."""
    found: dict[str, str] = {}
    for line in targets.splitlines():
        address, _, release = line.partition(" ")
        found.setdefault(release.strip(), address.rstrip("/"))
    return Mirror(found.get(codename), found.get(f"{codename}-security"))


def os_release() -> Mapping[str, str]:
    """Return the fields of /etc/os-release."""
    lines = Path("/etc/os-release").read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {name: value.strip("\"'") for name, value in pairs}


def apt_options(dump: str | None = None) -> tuple[str, ...]:
    """Return apt's proxy and date settings of this machine, for images that use the same mirror."""
    if dump is None:
        listed = process.run(["apt-config", "dump", "--format", '%F "%v";%n', "Acquire"], check=False)
        dump = listed.text if listed.code == 0 else ""
    wanted = re.compile(r'^Acquire::(?:https?::Proxy|Check-Date) "[^"]+";$')
    return tuple(sorted(line for line in dump.splitlines() if wanted.match(line)))


def certificates(folder: Path = LOCAL_CERTIFICATES) -> Mapping[str, bytes]:
    """Return this machine's extra CA certificates by file name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.crt"))}


def go_settings() -> Mapping[str, str]:
    """Return how this machine has Go fetch modules: its settings file, overruled by the environment."""
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    file = Path(os.environ.get("GOENV") or Path(config) / "go/env")
    lines = file.read_text().splitlines() if file.is_file() else []
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    known = {**dict(pairs), **os.environ}
    return {name: known[name] for name in GO_SETTINGS if name in known}


def architecture() -> str:
    """Return this machine's architecture as Debian and release archives call it."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def registry() -> str:
    """Return the prefix of the registry that has images of the supported systems, or nothing."""
    return os.environ.get(REGISTRY, "").strip().rstrip("/")


def wheel_folders() -> tuple[Path, ...]:
    """Return the local folders in which pip is configured to find wheels."""
    named = (Path(word) for word in os.environ.get("PIP_FIND_LINKS", "").split() if "://" not in word)
    return tuple(path for path in named if path.is_absolute() and path.is_dir())


def ulimits() -> Mapping[str, int]:
    """Return limits for containers that a caller without CAP_SYS_RESOURCE may set as well."""
    return {
        "nofile": _at_most(resource.RLIMIT_NOFILE, NOFILE),
        "nproc": _at_most(resource.RLIMIT_NPROC, PODMAN_NPROC),
    }


def mtu(routes: str | None = None) -> int:
    """Return the packet size of the network card that leads outside, which containers must not exceed."""
    text = Path("/proc/net/route").read_text() if routes is None else routes
    for line in text.splitlines()[1:]:
        fields = line.split()
        if fields[1] == "00000000":
            return int(Path(f"/sys/class/net/{fields[0]}/mtu").read_text())
    return 1500


def free_bytes(path: Path) -> int:
    """Return the free space of the file system that holds `path` or its nearest existing parent."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def require_free_port(port: int, owner: str = "") -> None:
    """Fail, with the owner, if something listens on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as taken:
            if taken.errno != errno.EADDRINUSE:
                raise LabError(f"port {port} cannot be used: {taken.strerror}", "choose another") from taken
            raise LabError(
                f"port {port} on 127.0.0.1 is already in use by {owner or port_owner(port)}",
                "stop that program, or change ansible_port (or lab_hub_port) in the inventory",
            ) from taken


def port_owner(port: int) -> str:
    """Return the process that listens on a port, as far as this user may see it."""
    inodes = _listening_inodes(port)
    for entry in Path("/proc").glob("[0-9]*"):
        if inodes & set(_sockets(entry)):
            return f"{(entry / 'comm').read_text().strip()} (pid {entry.name})"
    return "another process"


def _listening_inodes(port: int) -> set[str]:
    tables = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
    rows = (line.split() for table in tables if table.exists() for line in table.read_text().splitlines()[1:])
    return {row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}


def _sockets(process_entry: Path) -> Iterator[str]:
    # A process or a file of it may end meanwhile, or belong to another user.
    with contextlib.suppress(OSError):
        for link in (process_entry / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                yield str(link.readlink()).removeprefix("socket:[").removesuffix("]")


def _at_most(kind: int, wanted: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
