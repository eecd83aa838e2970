# SPDX-License-Identifier: Apache-2.0
"""Get the release archives of a lab: from the cache, from their publisher, or built on this machine.

The hub serves the cache's folders `releases/<project>/v<version>/`: the archive, `sha256sum.txt` as it is
published, `sha256` with the bare hash, `origin`. Where an archive is not available, `unavailable` says why,
and the lab is started without it.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from provisioner import content, documents
from provisioner.errors import LabError
from provisioner.lab import builder, controller, official
from provisioner.lab.podman import Podman

WORD = re.compile(r"(ollama)=(\d+\.\d+\.\d+)")
URL = "https://github.com/ollama/ollama/releases/download/v{version}/{file}"
OFFICIAL = "the official archive"
BUILT = "built here from its sources, a stand-in for the official archive"


@dataclass(frozen=True)
class Release:
    """One version of a project."""

    project: str
    version: str

    def __str__(self) -> str:
        """Return the name for messages."""
        return f"{self.project} {self.version}"

    @property
    def folder(self) -> Path:
        """Return its folder in the cache."""
        return folder() / self.project / f"v{self.version}"

    @property
    def file(self) -> str:
        """Return the archive's name for this machine."""
        return f"{self.project}-linux-{controller.architecture()}.tar.zst"

    @property
    def is_cached(self) -> bool:
        """Return whether the archive is complete; its hash is written last."""
        return all((self.folder / name).is_file() for name in (self.file, "origin", "sha256"))


@dataclass(frozen=True)
class Outcome:
    """Where an archive is from, or why there is none."""

    release: Release
    origin: str = ""
    unavailable: str = ""

    def __str__(self) -> str:
        """Return one line for a person."""
        return f"{self.release}: {self.origin or f'not available: {self.unavailable}'}"


def folder() -> Path:
    """Return the folder of all releases, which the hub serves."""
    return controller.cache_dir() / "releases"


def parse(word: str) -> Release | None:
    """Read an item of `lab_releases`; None when it is not valid."""
    match = WORD.fullmatch(word)
    return Release(match[1], match[2]) if match else None


def pinned(release: Release) -> str | None:
    """Return the official hash that the engine's role ships; a version without one is built."""
    file = content.roles() / f"engine_{release.project}" / "files" / "archives.yml"
    known = documents.read(file)
    found: str | None = known.get(release.version, {}).get(controller.architecture())
    return found


def ensure(podman: Podman, release: Release) -> Outcome:
    """Get one archive, and return where it is from."""
    where = release.folder
    where.mkdir(parents=True, exist_ok=True)
    if release.is_cached:
        return Outcome(release, (where / "origin").read_text().strip())
    with tempfile.TemporaryDirectory(prefix=".making-", dir=where) as work:
        archive = Path(work, release.file)
        try:
            origin = _make(podman, release, archive)
        except LabError as neither:
            (where / "unavailable").write_text(f"{neither.message}\n")
            return Outcome(release, unavailable=neither.message)
        _publish(release, archive, origin)
    return Outcome(release, origin)


def _make(podman: Podman, release: Release, archive: Path) -> str:
    """Write the archive and return its origin; the error says why neither way works."""
    pin = pinned(release)
    refused = "no hash of the official archive is known"
    if pin:
        try:
            official.fetch(URL.format(version=release.version, file=release.file), archive, pin)
        except LabError as unreachable:
            refused = unreachable.message
        else:
            return OFFICIAL
    try:
        builder.build(podman, release.version, archive)
    except LabError as failed:
        raise LabError(f"{refused}; building it: {failed.message}") from failed
    return BUILT


def _publish(release: Release, archive: Path, origin: str) -> None:
    with archive.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    where = release.folder
    archive.replace(where / release.file)
    (where / "sha256sum.txt").write_text(f"{sha256}  ./{release.file}\n")
    (where / "origin").write_text(f"{origin}\n")
    (where / "unavailable").unlink(missing_ok=True)
    (where / "sha256").write_text(f"{sha256}\n")
