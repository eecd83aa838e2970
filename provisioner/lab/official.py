# SPDX-License-Identifier: Apache-2.0
"""Download a release archive from its publisher, if that can be reached, and only with the expected hash."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

from provisioner.errors import LabError
from provisioner.lab import controller

# A server that does not answer at once is not reachable; a slow one takes longer than building.
ANSWER_SECONDS = 5
TOTAL_SECONDS = 240
BLOCK = 1024**2


def fetch(url: str, target: Path, sha256: str) -> None:
    """Download `url` to `target`; a `LabError` says why that failed."""
    deadline = time.monotonic() + TOTAL_SECONDS
    digest = hashlib.sha256()
    try:
        # The address is one of the table in `releases`, always https.
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer, target.open("wb") as file:  # noqa: S310
            _require_disk(target, int(answer.headers.get("Content-Length") or 0))
            while block := answer.read(BLOCK):
                file.write(block)
                digest.update(block)
                if time.monotonic() > deadline:
                    raise LabError(f"{url} takes more than {TOTAL_SECONDS} s")
    except (OSError, http.client.HTTPException) as refused:
        if isinstance(refused, urllib.error.HTTPError):
            refused.close()
        raise LabError(f"{url} cannot be downloaded: {getattr(refused, 'reason', refused)}") from refused
    if digest.hexdigest() != sha256:
        raise LabError(f"sha256 mismatch of {url}: expected {sha256}, got {digest.hexdigest()}")


def _require_disk(target: Path, needed: int) -> None:
    free = controller.free_bytes(target.parent)
    if free < needed:
        raise LabError(f"{needed / 1e9:.1f} GB needed in {target.parent}, {free / 1e9:.1f} GB free")
