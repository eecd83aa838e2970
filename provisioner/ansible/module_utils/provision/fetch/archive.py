# SPDX-License-Identifier: Apache-2.0
"""Install a release archive: download, verify, unpack beside its place, publish with one rename."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ..host.fault import Fault
from ..host.paths import free_bytes, sync
from ..jobs.progress import Progress
from .download import Download, log
from .orders import Orders
from .place import Wanted, check_executable, doubt, remove, unfinished, write_manifest
from .source import Source
from .stream import Archive, missing_zstd
from .unpack import Unpack

# Where the unit finds the URL: it may hold a password, so neither orders nor command lines do.
URL_VARIABLE = "RELEASE_ARCHIVE_URL"
GB = 1e9


class Fetch:
    """One archive on its way into its place."""

    def __init__(self, orders: Orders, progress: Progress) -> None:
        self.orders = orders
        self.progress = progress
        self.wanted = Wanted.of(orders.to_dict())
        self.directory = self.wanted.directory(Path(orders.root))
        self.staging = self.directory.with_name(f".{self.directory.name}.partial")
        self.part = Path(orders.cache) / self.wanted.name / f"{self.wanted.sha256[:12]}.part"
        self.warnings: list[str] = []

    def run(self) -> dict[str, Any]:
        """Install the archive and return whether anything changed, with warnings."""
        if not doubt(self.directory, self.wanted):
            return {"changed": False, "warnings": []}
        source = Source(os.environ.get(URL_VARIABLE, ""))
        if source.path.endswith((".zst", ".tzst")) and not shutil.which("zstd"):
            raise missing_zstd()
        for folder in (self.directory.parent, self.part.parent):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.clear()
        download = Download(source, self.part, self.orders.to_dict(), self.progress, self.check_room)
        self.progress.done = download.arrived
        log(f"downloading {source} for {self.directory}")
        download.run()
        self.check_room(0)
        try:
            self.unpack(download)
            self.publish()
        finally:
            if self.staging.exists():
                remove(self.staging)
        download.drop()
        return {"changed": True, "warnings": self.warnings}

    def clear(self) -> None:
        """Remove what earlier runs have left, except for the beginning of this very file."""
        for path in unfinished(Path(self.orders.root), self.wanted.name):
            remove(path)
        for path in sorted(self.part.parent.iterdir()):
            if not path.name.startswith(self.part.name):
                remove(path)

    def check_room(self, rest: int | None) -> None:
        """Refuse to start what cannot fit: the rest of the download, what it unpacks to, and a reserve."""
        unpacked, reserve = self.orders.needed_bytes, self.orders.reserve_bytes
        for size, what in ((rest, "download"), (unpacked or None, "unpacked archive")):
            text = f"the size of the {what} of {self.wanted} is unknown, so free space for it was not checked"
            if size is None and text not in self.warnings:
                self.warnings.append(text)
                log(text)
        here, there = device(self.part.parent), device(self.directory.parent)
        needs = {there: (self.directory.parent, unpacked)}
        if here == there:
            needs = {there: (self.directory.parent, unpacked + (rest or 0))}
        else:
            needs[here] = (self.part.parent, rest or 0)
        for place, needed in needs.values():
            free = free_bytes(place)
            if free < needed + reserve:
                raise Fault(
                    f"not enough disk for {self.wanted}: {place} has {free / GB:.2f} GB free and needs "
                    f"{needed / GB:.2f} GB plus {reserve / GB:.2f} GB in reserve ({rest or 0} bytes still "
                    f"to download, unpacked {unpacked or 'an unknown number of'} bytes)",
                    f"free {(needed + reserve - free) / GB:.2f} GB on the file system of {place}, then apply "
                    "again",
                )

    def unpack(self, download: Download) -> None:
        """Fill the directory beside the place; the download of an unsuitable archive is not kept."""
        self.progress.label = f"{self.wanted}: unpacking"
        self.progress.total = download.arrived()
        with Archive(self.part) as archive:
            self.progress.done = archive.position
            try:
                files = Unpack(self.staging).run(archive)
                write_manifest(self.staging, self.wanted, files)
                check_executable(self.staging, self.wanted)
            except Fault:
                download.drop()
                raise
            finally:
                self.progress.done = download.arrived
        program = self.staging / self.wanted.executable
        program.chmod(0o755)
        sync(self.staging)

    def publish(self) -> None:
        """Give the complete directory its name in one step; a broken one makes room first."""
        if self.directory.exists():
            away = self.directory.with_name(f".{self.directory.name}.old")
            self.directory.rename(away)
            self.staging.rename(self.directory)
            remove(away)
        else:
            self.staging.rename(self.directory)
        sync(self.directory.parent)


def device(path: Path) -> int:
    """Return the file system of a directory."""
    return path.stat().st_dev


def fetch(spec: dict[str, Any]) -> None:
    """Run one job."""
    orders = Orders.read(spec)
    with Progress(Path(orders.result), orders.title, {"directory": orders.directory}) as progress:
        progress.finish(**Fetch(orders, progress).run())
