# SPDX-License-Identifier: Apache-2.0
"""Read Ollama's models directory: names, the blobs that they consist of, and whether these are right."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable

from ansible.module_utils.provision.models.files import hash_file

from .names import Name

PREFIX = "sha256:"


@dataclass(frozen=True)
class Manifest:
    """Describe one model: the digest that `ollama list` shows, and its blobs with their sizes."""

    digest: str
    blobs: dict[str, int]
    media: dict[str, str]

    @classmethod
    def read(cls, content: bytes) -> Manifest:
        """Read the bytes of a manifest; a ValueError means that they are not one."""
        body = json.loads(content)
        try:
            layers = [*body["layers"], *([body["config"]] if body.get("config", {}).get("digest") else [])]
            blobs = {str(layer["digest"]): int(layer["size"]) for layer in layers}
            media = {str(layer["digest"]): str(layer["mediaType"]) for layer in layers}
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError("this is not a manifest of a model") from error
        if not blobs or not all(_is_digest(digest) for digest in blobs):
            raise ValueError("this is not a manifest of a model")
        return cls(hashlib.sha256(content).hexdigest(), blobs, media)


def _is_digest(text: str) -> bool:
    return text.startswith(PREFIX) and len(text) == 71 and all(c in "0123456789abcdef" for c in text[7:])


@dataclass(frozen=True)
class Wrong:
    """Describe a blob whose content does not match its name; `actual` is empty when there is no blob."""

    path: str
    expected: str
    actual: str

    def __str__(self) -> str:
        if not self.actual:
            return f"{self.path} is missing"
        return f"{self.path} has sha256 {self.actual}, expected {self.expected}"


class Store:
    """Read a models directory and remove from it what nothing needs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifests = root / "manifests"
        self.blobs = root / "blobs"

    def blob(self, digest: str) -> Path:
        """Return the path of a blob."""
        return self.blobs / digest.replace(":", "-")

    def manifest(self, name: Name) -> Manifest | None:
        """Return the manifest of a name, or None when there is none that can be read."""
        try:
            return Manifest.read((self.manifests / name.path).read_bytes())
        except (OSError, ValueError):
            return None

    def missing(self, manifest: Manifest) -> list[str]:
        """Return the digests whose blobs are absent or of another size."""
        return [digest for digest, size in manifest.blobs.items() if self._size(digest) != size]

    def _size(self, digest: str) -> int:
        try:
            return self.blob(digest).stat().st_size
        except OSError:
            return -1

    def stamp(self, digest: str) -> list[int]:
        """Return what changes when a blob's content does; nothing for one that is absent."""
        try:
            found = self.blob(digest).stat()
        except OSError:
            return []
        return [found.st_size, found.st_mtime_ns, found.st_ino]

    def unsure(self, digests: Iterable[str], stamps: dict[str, Any]) -> list[str]:
        """Return the digests whose blobs have changed since their hashes were checked, or were never read."""
        return [
            digest for digest in digests if not self.stamp(digest) or stamps.get(digest) != self.stamp(digest)
        ]

    def wrong(self, digest: str) -> Wrong | None:
        """Read one blob and return how it does not match its name."""
        path, expected = self.blob(digest), digest[len(PREFIX) :]
        try:
            actual = hash_file(path).sha256
        except OSError:
            return Wrong(str(path), expected, "")
        return None if actual == expected else Wrong(str(path), expected, actual)

    def drop(self, name: Name) -> None:
        """Remove a name, and the folders that this leaves empty."""
        path = self.manifests / name.path
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        for folder in list(path.parents)[:3]:
            with contextlib.suppress(OSError):  # other models are in it
                folder.rmdir()

    def needed(self) -> set[str] | None:
        """Return the digests that any name needs, or None while a manifest cannot be read."""
        try:
            every = [Manifest.read(path.read_bytes()) for path in self.manifests.glob("*/*/*/*")]
        except (OSError, ValueError):
            return None
        return {digest for manifest in every for digest in manifest.blobs}

    def clean(self, digests: Iterable[str]) -> list[str]:
        """Remove those blobs that no name needs any more, and return their digests."""
        needed = self.needed()
        # A manifest that cannot be read may need any of them.
        orphans = [] if needed is None else sorted(set(digests) - needed)
        for digest in orphans:
            with contextlib.suppress(FileNotFoundError):
                self.blob(digest).unlink()
        return orphans
