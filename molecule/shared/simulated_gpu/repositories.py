# SPDX-License-Identifier: Apache-2.0
"""Change a copy of the simulated repositories for one test: another key, or packages that are gone."""

from __future__ import annotations

import json
from pathlib import Path

from provisioner.lab.podman import Podman
from simulated_gpu import build

MODULE = "simulated_gpu.vendor.change"
# Which key signs what lies below a folder.
SIGNERS = {"distribution": "distribution", "container-toolkit": "container"}


def fingerprints(root: Path) -> dict[str, str]:
    """Return the fingerprints of the simulated keys."""
    found: dict[str, str] = json.loads((root / "keys.json").read_text())
    return found


def rotate(podman: Podman, root: Path, folder: str) -> str:
    """Sign the repositories below `root / folder` with a new key; return its fingerprint."""
    build.in_container(podman, MODULE, "rotate", f"/out/{folder}", out=root)
    note = root / folder / ".rotated"
    key = note.read_text()
    note.unlink()
    return key


def withdraw(podman: Podman, root: Path, folder: str, *names: str) -> None:
    """Take packages out of the repositories below `root / folder`; a name may be a glob."""
    words = (f"--secret=/out/{'signing.asc'}", f"--key={fingerprints(root)[_signer(folder)]}")
    build.in_container(podman, MODULE, "withdraw", *words, f"/out/{folder}", *names, out=root)


def _signer(folder: str) -> str:
    top, _, rest = folder.partition("/")
    if top in SIGNERS:
        return SIGNERS[top]
    platform = rest.partition("/")[0]
    return {"rhel8": "rpm89", "rhel9": "rpm89", "rhel10": "rpm10"}.get(platform, "deb")
