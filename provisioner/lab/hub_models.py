# SPDX-License-Identifier: Apache-2.0
"""The models of the stand-in hub, described as each hub's API does."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGE_SUFFIXES = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt", ".pkl")
LARGE_BYTES = 10 * 1024**2
BRANCHES = ("main", "master")
DATE = "2026-01-01T00:00:00.000Z"
NAME = r"(?P<repo>[\w.-]+/[\w.-]+)"


@dataclass(frozen=True)
class Entry:
    """One file of a model as a hub describes it."""

    path: str
    size: int
    sha256: str
    git_sha1: str

    @property
    def large(self) -> bool:
        """Return whether a hub would keep the file in its large-file storage."""
        return self.path.endswith(LARGE_SUFFIXES) or self.size > LARGE_BYTES

    @property
    def etag(self) -> str:
        """Return the hash that a hub sends as ETag."""
        return self.sha256 if self.large else self.git_sha1


@dataclass(frozen=True)
class Model:
    """A served model: its name and files."""

    repo: str
    entries: tuple[Entry, ...]

    @property
    def commit(self) -> str:
        """Derive a stable commit id from the model's files."""
        state = repr([(entry.path, entry.sha256) for entry in self.entries])
        return hashlib.sha1(state.encode(), usedforsecurity=False).hexdigest()

    def has(self, revision: str) -> bool:
        """Return whether a branch or commit exists."""
        return revision in (*BRANCHES, self.commit)

    def find(self, path: str) -> Entry | None:
        """Return the file at a path."""
        return next((entry for entry in self.entries if entry.path == path), None)


class Repositories:
    """Models below a root directory; a file is hashed again only when its stat changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[tuple[str, int, int], Entry] = {}
        self._lock = threading.Lock()

    def model(self, repo: str) -> Model | None:
        """Describe a model, or return None when there is no such directory."""
        folder = self.root / repo
        if any(part.startswith(".") for part in repo.split("/")) or not folder.is_dir():
            return None
        with self._lock:
            files = (path for path in sorted(folder.rglob("*")) if path.is_file())
            return Model(repo, tuple(self._entry(folder, path) for path in files))

    def _entry(self, folder: Path, path: Path) -> Entry:
        stat = path.stat()
        key = (str(path), stat.st_size, stat.st_mtime_ns)
        if key not in self._known:
            sha256 = hashlib.sha256()
            sha1 = hashlib.sha1(b"blob %d\0" % stat.st_size, usedforsecurity=False)
            with path.open("rb") as stream:
                while block := stream.read(1024**2):
                    sha256.update(block)
                    sha1.update(block)
            name = path.relative_to(folder).as_posix()
            self._known[key] = Entry(name, stat.st_size, sha256.hexdigest(), sha1.hexdigest())
        return self._known[key]


def huggingface_info(model: Model) -> dict[str, Any]:
    """Describe a model as `GET /api/models/<repo>` does."""
    siblings: list[dict[str, Any]] = []
    for entry in model.entries:
        item: dict[str, Any] = {"rfilename": entry.path, "size": entry.size, "blobId": entry.git_sha1}
        if entry.large:
            item["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": 134}
        siblings.append(item)
    return {
        "id": model.repo,
        "modelId": model.repo,
        "sha": model.commit,
        "private": False,
        "gated": False,
        "lastModified": DATE,
        "siblings": siblings,
    }


def huggingface_tree(model: Model) -> list[dict[str, Any]]:
    """List a model's files as `GET /api/models/<repo>/tree/<revision>` does."""
    tree = []
    for entry in model.entries:
        item: dict[str, Any] = {
            "type": "file",
            "path": entry.path,
            "size": entry.size,
            "oid": entry.git_sha1,
        }
        if entry.large:
            item["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": 134}
        tree.append(item)
    return tree


def modelscope_files(model: Model) -> dict[str, Any]:
    """List a model's files as `GET /api/v1/models/<repo>/repo/files` does."""
    files = [
        {
            "Path": entry.path,
            "Name": entry.path.rpartition("/")[2],
            "Type": "blob",
            "Size": entry.size,
            "Sha256": entry.sha256,
            "IsLFS": entry.large,
            "Revision": model.commit,
            "CommittedDate": DATE,
        }
        for entry in model.entries
    ]
    return {"Code": 200, "Success": True, "Data": {"Files": files}}


def modelscope_revisions(_: Model) -> dict[str, Any]:
    """List the branches as `GET /api/v1/models/<repo>/revisions` does."""
    revisions = {"Branches": [{"Revision": "master", "CreatedAt": DATE}], "Tags": []}
    return {"Code": 200, "Success": True, "Data": {"RevisionMap": revisions}}


def modelscope_info(model: Model) -> dict[str, Any]:
    """Describe a model as `GET /api/v1/models/<repo>` does."""
    owner, name = model.repo.split("/")
    return {"Code": 200, "Success": True, "Data": {"Path": owner, "Name": name, "Visibility": 5}}


LISTINGS: dict[str, Callable[[Model], Any]] = {
    rf"/api/models/{NAME}(/revision/(?P<revision>[^/]+))?": huggingface_info,
    rf"/api/models/{NAME}/tree/(?P<revision>[^/]+)/?": huggingface_tree,
    rf"/api/v1/models/{NAME}/repo/files": modelscope_files,
    rf"/api/v1/models/{NAME}/revisions": modelscope_revisions,
    rf"/api/v1/models/{NAME}": modelscope_info,
}
FILES = (
    rf"/{NAME}/resolve/(?P<revision>[^/]+)/(?P<file>.+)",
    rf"/api/v1/models/{NAME}/repo",
)
