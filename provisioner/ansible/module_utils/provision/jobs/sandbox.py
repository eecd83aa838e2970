# SPDX-License-Identifier: Apache-2.0
"""Restrict what a job may do while it talks to a server, with properties that systemd 239 supports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..host.systemd import quoted

# The files it makes get their readers' group; it reads and writes whatever the root's file system holds.
CAPABILITIES = "CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH"
RESTORECON = Path("/usr/sbin/restorecon")
SELINUX = Path("/sys/fs/selinux/enforce")
TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - names to compare with, not to write to


def sandbox(params: dict[str, Any]) -> dict[str, object]:
    """Return the properties of a unit that fetches; the root, into which it fetches, must exist."""
    written = [params["root"], "-" + params["runtime"], "-" + params["cache"]]
    shared = any(f"{params['root']}/".startswith(f"{folder}/") for folder in TEMPORARY)
    return {
        # Not strict: model_store_environment may send a client's cache to any place of the host.
        "ProtectSystem": "full",
        "ReadWritePaths": " ".join(quoted(path) for path in written),
        # A root below these must stay in sight of the engines.
        "PrivateTmp": not shared,
        "PrivateDevices": True,
        "ProtectKernelTunables": True,
        "ProtectKernelModules": True,
        "ProtectControlGroups": True,
        "NoNewPrivileges": True,
        "CapabilityBoundingSet": CAPABILITIES,
        "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    }


def labels(directory: Path) -> dict[str, object]:
    """Return the properties of a unit after which a directory has the labels of its place in SELinux."""
    if RESTORECON.exists() and SELINUX.exists():
        # Services may execute only what has the label of its final path; the sandbox cannot give labels.
        return {"ExecStopPost": f"-+{RESTORECON} -RF {directory}"}
    return {}
