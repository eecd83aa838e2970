# SPDX-License-Identifier: Apache-2.0
"""Have the hub serve a stand-in for conda's installer, which hands over to whatever Python a host has."""

from __future__ import annotations

import hashlib
from pathlib import Path

from provisioner.lab import releases
from tests.unit.conda.standin import installer

NAME = "Miniforge3-stand-in.sh"


def serve() -> Path:
    """Write the installer and its hash to where the hub serves them; return the folder."""
    folder = releases.folder() / "conda-stand-in"
    folder.mkdir(parents=True, exist_ok=True)
    content = installer(python="/usr/bin/python3")
    (folder / NAME).write_bytes(content)
    (folder / f"{NAME}.sha256").write_text(hashlib.sha256(content).hexdigest())
    return folder
