# SPDX-License-Identifier: Apache-2.0
"""Check that this machine has the keys of the Debian releases that lab images are made of."""

from __future__ import annotations

from pathlib import Path

from provisioner.errors import LabError

SYSTEM = Path("/usr/share/keyrings")
# A release is signed with its own key and that of the release before: this key covers both images.
NEWEST_NEEDED = "debian-archive-bookworm-automatic"


def check(system: Path = SYSTEM) -> None:
    """Refuse keys that are too old, before a build fails over them."""
    if not any(system.glob(f"{NEWEST_NEEDED}.*")):
        raise LabError(
            f"no file {NEWEST_NEEDED}.* in {system}: the keys of Debian's archive are missing or too old",
            "install a package debian-archive-keyring of 2023 or later",
        )
