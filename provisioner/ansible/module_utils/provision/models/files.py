# SPDX-License-Identifier: Apache-2.0
"""Read and write what is known of a model's directory: its manifest, its hashes, and what changed since."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Callable, Iterable

from ..host.files import read_json, write_json

MANIFEST = ".provision-manifest.json"
# Kept apart from the manifest: what the file system reported when the files' hashes were right.
STAMPS = ".provision-stamps.json"
MODE = 0o640
# The Hugging Face client keeps its notes and partial files below this folder of the directory it fills.
CLIENT_NOTES = ".cache"

SAFETENSORS = "safetensors"
BLOCK = 4 * 1024**2


@dataclass(frozen=True)
class Wanted:
    """Identify the requested model and its files: two equal ones have the same files."""

    source: str
    model: str
    revision: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_unsafe: bool = False
    format: str = SAFETENSORS

    @classmethod
    def of(cls, values: dict[str, Any]) -> Wanted:
        """Build one from a mapping that may hold more; what is empty there has its default."""
        given: dict[str, Any] = {one.name: values[one.name] for one in fields(cls) if values.get(one.name)}
        lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
        return cls(**{**given, **lists})

    def __str__(self) -> str:
        return f"{self.model}@{self.revision}"


@dataclass(frozen=True)
class RemoteFile:
    """Describe a file as the hub lists it; the hub gives a sha256, a git blob hash, or neither."""

    name: str
    size: int
    sha256: str = ""
    git_sha1: str = ""


@dataclass(frozen=True)
class KnownFile:
    """Describe a verified file; `origin` says who vouches for the hash: hub, hub-git or first-fetch."""

    size: int
    sha256: str
    origin: str


@dataclass(frozen=True)
class Manifest:
    """Record what a directory holds and where it came from."""

    wanted: Wanted
    commit: str
    files: dict[str, KnownFile] = field(default_factory=dict)

    def write(self, directory: Path) -> None:
        """Write it into the directory."""
        files = {name: asdict(known) for name, known in sorted(self.files.items())}
        # In a manifest `format` is its version; the format of the weights has another key.
        own = {"format": 1, "weights": self.wanted.format, "commit": self.commit, "files": files}
        write_json(directory / MANIFEST, {**asdict(self.wanted), **own}, MODE)


def read_manifest(directory: Path) -> Manifest | None:
    """Return the directory's manifest, or None when there is none that can be read."""
    body = read_json(directory / MANIFEST, {})
    try:
        files = {name: KnownFile(**known) for name, known in body["files"].items()}
        wanted = Wanted.of({**body, "format": body.get("weights")})
        return Manifest(wanted, body["commit"], files)
    except (AttributeError, KeyError, TypeError):
        return None


def stamp(path: Path) -> list[int]:
    """Return what changes when a file's content does; nothing for one that cannot be found."""
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def write_stamps(directory: Path, names: Iterable[str]) -> None:
    """Record that these files, and no others, were right just now."""
    stamps = {name: stamp(directory / name) for name in sorted(names)}
    # Of the model's readers, or the next run would have to give the file back to them.
    write_json(directory / STAMPS, stamps, MODE, directory.stat().st_gid)


def untouched(directory: Path, names: Iterable[str]) -> set[str]:
    """Return the files that have not changed since their hashes were right."""
    stamps = read_json(directory / STAMPS, {})
    return {name for name in names if stamps.get(name) and stamp(directory / name) == stamps[name]}


def changed(directory: Path, names: Iterable[str]) -> list[str]:
    """Return the files that have changed since their hashes were right, or are gone."""
    return sorted(set(names) - untouched(directory, names))


def doubt(directory: Path, wanted: Wanted) -> str:
    """Return why the directory may not hold what is wanted; nothing when it does. Reads no file's content."""
    if not directory.is_dir():
        return "it does not exist"
    manifest = read_manifest(directory)
    if manifest is None:
        return "it has no manifest"
    if manifest.wanted != wanted:
        return f"it contains {manifest.wanted} with another choice of files"
    names = changed(directory, manifest.files)
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{names[0]}{more} changed since the hashes were checked"
    return ""


def strangers(directory: Path, manifest: Manifest) -> list[str]:
    """List files that are not in the manifest."""
    own = {MANIFEST, STAMPS}
    found = (path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir())
    return sorted(name for name in found if name not in own and name not in manifest.files)


@dataclass(frozen=True)
class Hashes:
    """Hold a file's size and both hashes that hubs use."""

    size: int
    sha256: str
    git_sha1: str


def hash_file(path: Path) -> Hashes:
    """Read a file once and return its hashes."""
    size = path.stat().st_size
    sha256, git = hashlib.sha256(), _sha1(b"blob %d\0" % size)
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(BLOCK), b""):
            sha256.update(block)
            git.update(block)
    return Hashes(size, sha256.hexdigest(), git.hexdigest())


def _sha1(start: bytes) -> Any:
    """Return git's kind of hash; FIPS builds of Python refuse it unless it does not serve security."""
    try:
        return hashlib.new("sha1", start, usedforsecurity=False)  # novermin - before 3.9 this is a TypeError
    except TypeError:
        return hashlib.new("sha1", start)  # noqa: S324 - git's own name


def hash_files(
    directory: Path, names: Iterable[str], counted: Callable[[int], object] = lambda _: None
) -> dict[str, Hashes | None]:
    """Hash files side by side; one that cannot be read gives None. `counted` is given the bytes of each."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        asked = {pool.submit(hash_file, directory / name): name for name in names}
        found: dict[str, Hashes | None] = {}
        for future in as_completed(asked):
            hashes = None if isinstance(future.exception(), OSError) else future.result()
            found[asked[future]] = hashes
            counted(hashes.size if hashes else 0)
    return found


def mismatch(remote: RemoteFile, found: Hashes | None) -> str:
    """Return how a file differs from what the hub lists; nothing when it is the same."""
    if found is None:
        return "cannot be read"
    if found.size != remote.size:
        return f"has {found.size} bytes, expected {remote.size}"
    if remote.sha256 and found.sha256 != remote.sha256:
        return f"has sha256 {found.sha256}, expected {remote.sha256}"
    if not remote.sha256 and remote.git_sha1 and found.git_sha1 != remote.git_sha1:
        return f"has git hash {found.git_sha1}, expected {remote.git_sha1}"
    return ""
