# SPDX-License-Identifier: Apache-2.0
"""Read Ollama's models directory: names, the blobs that they consist of, and whether these are right."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable

from ansible.module_utils.provision.models.files import hash_file, stamp

from .names import Name

PREFIX = "sha256:"
DIGEST = re.compile(PREFIX + r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Manifest:
    """Describe one model: the digest that `ollama list` shows, and its blobs with their sizes."""

    digest: str
    blobs: dict[str, int]

    @classmethod
    def read(cls, content: bytes) -> Manifest:
        """Read the bytes of a manifest; a ValueError means that they are not one."""
        body = json.loads(content)
        try:
            layers = [*body["layers"], *([body["config"]] if body.get("config", {}).get("digest") else [])]
            blobs = {str(layer["digest"]): int(layer["size"]) for layer in layers}
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError("this is not a manifest of a model") from error
        if not blobs or not all(map(DIGEST.fullmatch, blobs)):
            raise ValueError("this is not a manifest of a model")
        return cls(hashlib.sha256(content).hexdigest(), blobs)


class Store:
    """Read a models directory and remove from it what nothing needs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifests = root / "manifests"
        self.blobs = root / "blobs"

    def blob(self, digest: str) -> Path:
        """Return the path of a blob."""
        return self.blobs / digest.replace(":", "-")

    def place(self, name: Name) -> Path:
        """Return the path of a name's manifest; one that is there in another case is the same to Ollama."""
        path = self.manifests
        for part in name.path.split("/"):
            if not (path / part).exists() and path.is_dir():
                same = (one for one in path.iterdir() if one.name.casefold() == part.casefold())
                path = next(same, path / part)
            else:
                path /= part
        return path

    def spelt(self, text: str) -> str:
        """Return a name as Ollama lists it, which is the case in which it was stored."""
        return str(Name(*self.place(Name.parse(text)).relative_to(self.manifests).parts))

    def manifest(self, name: Name) -> Manifest | None:
        """Return the manifest of a name, or None when there is none that can be read."""
        try:
            return Manifest.read(self.place(name).read_bytes())
        except (OSError, ValueError):
            return None

    def missing(self, manifest: Manifest) -> list[str]:
        """Return the digests whose blobs are absent or of another size."""
        return [digest for digest, size in manifest.blobs.items() if self.stamp(digest)[:1] != [size]]

    def stamp(self, digest: str) -> list[int]:
        """Return what changes when a blob's content does; nothing for one that is absent."""
        found = stamp(self.blob(digest))
        # Not the time of the inode's change: another owner or a hard link changes it as well.
        return found[:2] + found[3:]

    def unsure(self, digests: Iterable[str], stamps: dict[str, Any]) -> list[str]:
        """Return the digests whose blobs have changed since their hashes were checked, or were never read."""
        return [
            digest for digest in digests if not self.stamp(digest) or stamps.get(digest) != self.stamp(digest)
        ]

    def wrong(self, digest: str) -> str:
        """Read one blob and return how it does not match its name; nothing when it does."""
        path, expected = self.blob(digest), digest[len(PREFIX) :]
        try:
            actual = hash_file(path).sha256
        except OSError:
            return f"{path} is missing"
        return "" if actual == expected else f"{path} has sha256 {actual}, expected {expected}"

    def drop(self, name: Name) -> None:
        """Remove a name, and the folders that this leaves empty."""
        path = self.place(name)
        path.unlink(missing_ok=True)
        for folder in list(path.parents)[:3]:
            with contextlib.suppress(OSError):  # other models are in it
                folder.rmdir()

    def clean(self, digests: Iterable[str]) -> list[str]:
        """Remove those blobs that no name needs any more, and return their digests."""
        try:
            every = [Manifest.read(path.read_bytes()) for path in self.manifests.glob("*/*/*/*")]
        except (OSError, ValueError):
            return []  # a manifest that cannot be read may need any of them
        orphans = sorted(set(digests).difference(*(manifest.blobs for manifest in every)))
        for digest in orphans:
            self.blob(digest).unlink(missing_ok=True)
        return orphans
