# SPDX-License-Identifier: Apache-2.0
"""Have the hub serve a stand-in for conda's installer, which hands over to whatever Python a host has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from provisioner.lab import releases
from tests.host.python.standin import installer


def serve(hosts: Iterable[str]) -> None:
    """Write an installer for each host, and its hash, to where the hub serves them.

    Hosts of a lab share their cache of downloads, so equal files of two hosts would be one.
    """
    folder = releases.folder() / "conda-stand-in"
    folder.mkdir(parents=True, exist_ok=True)
    for host in hosts:
        content = installer(python="/usr/bin/python3") + f"# for {host}\n".encode()
        (folder / f"{host}.sh").write_bytes(content)
        (folder / f"{host}.sh.sha256").write_text(hashlib.sha256(content).hexdigest())
