# SPDX-License-Identifier: Apache-2.0
"""What the stand-in hub serves directly from the disk: Ollama's registry of models, and the releases.

The registry's tree is that of its addresses: `<namespace>/<name>/manifests/<tag>` and
`<namespace>/<name>/blobs/sha256:<hex>`. Every file of the releases is served, at any depth: archives as
`<project>/v<version>/<file>`, and whole package repositories.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

# Below the root of the models, where no repository can have such a name.
REGISTRY = ".registry"
PART = r"[A-Za-z0-9_][\w.-]*"
MANIFEST = rf"/v2/(?P<key>{PART}/{PART}/manifests/{PART})"
BLOB = rf"/v2/(?P<key>{PART}/{PART}/blobs/sha256:[0-9a-f]{{64}})"
RELEASES = "releases"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
BINARY_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class Download:
    """One file that can be downloaded: its key for faults and counters, its path and its headers."""

    key: str
    path: Path
    kind: str = BINARY_TYPE
    etag: str = ""
    stored_elsewhere: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that describe the content."""
        stat = self.path.stat()
        etag = self.etag or f"{stat.st_mtime_ns:x}-{stat.st_size:x}"
        return {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", "Content-Type": self.kind}


def find(path: str, models: Path, releases: Path | None) -> Download | None:
    """Return the download of an address, whether the file exists or not; None for other addresses."""
    registry = models / REGISTRY
    if match := re.fullmatch(MANIFEST, path):
        return Download(match["key"], registry / match["key"], MANIFEST_TYPE)
    if match := re.fullmatch(BLOB, path):
        digest = match["key"].rpartition("/")[2]
        return Download(match["key"], registry / match["key"], etag=digest, stored_elsewhere=True)
    return release(path, releases) if releases else None


def release(path: str, releases: Path) -> Download | None:
    """Return the file of the releases at an address; None where it leads elsewhere.

    apt and dnf put a repository's address and a file's name together with `/./` or `//` between them.
    """
    top, *parts = path.lstrip("/").split("/")
    names = [part for part in parts if part not in ("", ".")]
    if top != RELEASES or not names or path.endswith("/") or ".." in names or "\0" in path:
        return None
    place = releases.joinpath(*names)
    # A link must not lead out of the folder either.
    if not place.resolve().is_relative_to(releases.resolve()):
        return None
    return Download("/".join((RELEASES, *names)), place)


def storage(address: str, local: str) -> str:
    """Return the other name of this hub, for `address` as the client wrote it.

    Like the real registry this one sends a client elsewhere for a blob's content, and Ollama's takes the
    address of a blob only from a redirect to another host name.
    """
    name, colon, port = address.rpartition(":") if re.search(r":\d+$", address) else (address, "", "")
    names = {local: "hub.lab", "127.0.0.1": "localhost", "localhost": "127.0.0.1"}
    return f"{names.get(name, local)}{colon}{port}"
