# SPDX-License-Identifier: Apache-2.0
"""Have keys that vouch for Debian's archive, also where the system's package of them is too old.

Ubuntu 22.04 knows none of the keys that sign Debian 12 and 13. There Debian's package of keys is fetched,
pinned by its hash, and used for building images only; the system's own keys stay as they are.
"""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from pathlib import Path

from provisioner.errors import LabError
from provisioner.lab import controller, process

SYSTEM = Path("/usr/share/keyrings")
# A release is signed with its own key and that of the release before: this key vouches for both images.
NEWEST_NEEDED = "debian-archive-bookworm-automatic"
PACKAGE = "pool/main/d/debian-archive-keyring/debian-archive-keyring_2025.1_all.deb"
SHA256 = "9ea7778e443144ca490668737a8ab22dd3e748bb99e805e22ec055abeb3c7fac"


def lay_out(target: Path, system: Path = SYSTEM) -> None:
    """Write Debian's keys to `target`, unless the system's own will do."""
    if not any(system.glob(f"{NEWEST_NEEDED}.*")):
        target.write_bytes(_fetched().read_bytes())


def _fetched() -> Path:
    """Return a file with Debian's keys, fetched once."""
    folder = controller.cache_dir() / f"keyring-{SHA256[:12]}"
    keys = folder / "usr/share/keyrings/debian-archive-keyring.gpg"
    if not keys.exists():
        folder.mkdir(parents=True, exist_ok=True)
        package = folder / "keyring.deb"
        package.write_bytes(_verified(_download(f"{controller.DEBIAN}/{PACKAGE}")))
        process.run(["dpkg-deb", "--extract", str(package), str(folder)])
    return keys


def _download(address: str) -> bytes:
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 - a constant http address
            return bytes(answer.read())
    except (urllib.error.URLError, TimeoutError) as failed:
        raise LabError(
            f"Debian's archive keys could not be fetched from {address}: {failed}",
            "install a package debian-archive-keyring of 2023 or later",
        ) from failed


def _verified(content: bytes) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise LabError(
            f"the package of Debian's archive keys has sha256 {found} instead of {SHA256}",
            "install a package debian-archive-keyring of 2023 or later",
        )
    return content
