# SPDX-License-Identifier: Apache-2.0
"""Record on a host which driver provision installs, before its packages change, so that it stays ours."""

from __future__ import annotations

from pathlib import Path

from ..host.files import write_json

RECORD = Path("/var/lib/provision/nvidia_driver.json")
CHANGING, DONE = "changing", "done"


def note(source: str, version: str, state: str) -> None:
    """Write down the driver and how far it is."""
    write_json(RECORD, {"source": source, "version": version, "state": state}, 0o644)
