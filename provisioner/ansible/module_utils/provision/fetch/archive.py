# SPDX-License-Identifier: Apache-2.0
"""Install a release archive: download, verify, unpack beside its place, publish with one rename.

It is the program `release-archive-<digest>.pyz fetch SPEC` on a host.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..host.fault import Fault
from ..host.follow import note
from ..host.paths import remove, require_room, sync
from ..jobs.orders import Written, job_of
from ..jobs.program import Program
from ..jobs.progress import Progress
from .download import Download
from .place import MANIFEST, Wanted, check_executable, doubt, unfinished, write_manifest
from .source import Source
from .stream import Archive, missing_zstd
from .unpack import Unpack

# Where the unit finds the URL: it may hold a password, so neither orders nor command lines do.
URL_VARIABLE = "RELEASE_ARCHIVE_URL"
GIBIBYTE = 1024**3


@dataclass(frozen=True)
class Orders(Wanted, Written):
    """Hold which archive a job installs, and where: the module writes them, and the job reads them."""

    title: str
    # By which the outcome is recognised as the answer to these very orders.
    directory: str
    root: str
    cache: str
    needed_bytes: int = 0
    reserve_bytes: int = GIBIBYTE
    attempts: int = 5
    stall_seconds: float = 60


class Fetch:
    """One archive on its way into its place."""

    def __init__(self, orders: Orders, progress: Progress) -> None:
        self.orders = orders
        self.progress = progress
        self.directory = Path(orders.directory)
        self.staging = self.directory.with_name(f".{self.directory.name}.partial")
        self.part = Path(orders.cache) / orders.name / f"{orders.sha256[:12]}.part"
        self.warnings: list[str] = []

    def run(self) -> dict[str, Any]:
        """Install the archive and return whether anything changed, with warnings."""
        if not doubt(self.directory, self.orders):
            return {"changed": False, "warnings": []}
        source = Source(os.environ.get(URL_VARIABLE, ""))
        if source.path.endswith((".zst", ".tzst")) and not shutil.which("zstd"):
            raise missing_zstd()
        for folder in (self.directory.parent, self.part.parent):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.clear()
        download = Download(source, self.part, self.orders.to_dict(), self.progress, self.check_room)
        download.run()
        self.check_room(0)
        try:
            self.unpack(download)
            self.publish()
        finally:
            remove(self.staging, MANIFEST)
        download.drop()
        return {"changed": True, "warnings": self.warnings}

    def clear(self) -> None:
        """Remove what earlier runs have left, except for the beginning of this very file."""
        cached = sorted(self.part.parent.iterdir())
        rubbish = [path for path in cached if not path.name.startswith(self.part.name)]
        for path in (*unfinished(Path(self.orders.root), self.orders.name), *rubbish):
            remove(path, MANIFEST)

    def check_room(self, rest: int | None) -> None:
        """Refuse to start what cannot fit: the rest of the download, what it unpacks to, and a reserve."""
        unpacked = self.orders.needed_bytes
        for size, what in ((rest, "download"), (unpacked or None, "unpacked archive")):
            text = f"the size of the {what} of {self.orders} is unknown, so free space for it was not checked"
            if size is None and text not in self.warnings:
                self.warnings.append(text)
                note(text)
        parts = f"{rest or 0} bytes still to download, unpacked {unpacked or 'an unknown number of'} bytes"
        needs = ((self.directory.parent, unpacked), (self.part.parent, rest or 0))
        require_room(f"{self.orders} ({parts})", needs, self.orders.reserve_bytes)

    def unpack(self, download: Download) -> None:
        """Fill the directory beside the place; the download of an unsuitable archive is not kept."""
        self.progress.label = f"{self.orders}: unpacking"
        self.progress.total = download.arrived()
        with Archive(self.part) as archive:
            self.progress.done = archive.position
            try:
                files = Unpack(self.staging).run(archive)
                write_manifest(self.staging, self.orders, files)
                check_executable(self.staging, self.orders)
            except Fault:
                download.drop()
                raise
            finally:
                self.progress.done = download.arrived
        (self.staging / self.orders.executable).chmod(0o755)
        sync(self.staging)

    def publish(self) -> None:
        """Give the complete directory its name in one step; a broken one makes room first."""
        away = self.directory.with_name(f".{self.directory.name}.old")
        if self.directory.exists():
            self.directory.rename(away)
        self.staging.rename(self.directory)
        if away.exists():
            remove(away, MANIFEST)
        sync(self.directory.parent)


fetch = job_of(Orders, lambda orders, progress: Fetch(orders, progress).run(), "directory")
PROGRAM = Program("release-archive", __name__, {"fetch": fetch})
install, main = PROGRAM.install, PROGRAM.main
