# SPDX-License-Identifier: Apache-2.0
"""Download a model into its directory: list, download, verify, publish. Resumes what an earlier run left.

On a host it is the program `model-store-<digest>.pyz`: `fetch SPEC`, `verify SPEC` or `client REQUEST`.
"""

from __future__ import annotations

import grp
import os
import shutil
from pathlib import Path
from typing import Any

from ..host.files import read_json
from ..host.follow import note
from ..host.paths import require_room, sync
from ..host.reach import READERS
from ..jobs.orders import job_of
from ..jobs.program import Program
from ..jobs.progress import Progress
from .check import verify
from .client import client
from .download import Download, list_files
from .files import (
    CLIENT_NOTES,
    MANIFEST,
    SAFETENSORS,
    STAMPS,
    Hashes,
    KnownFile,
    Manifest,
    RemoteFile,
    hash_files,
    mismatch,
    read_manifest,
    strangers,
    untouched,
    write_stamps,
)
from .orders import CheckOrders, Orders
from .select import PICKLES, copies, select, selected, weights_of
from .twice import rest, unclear

# What is said of the rest: weights in every format.
WEIGHTS = (f".{SAFETENSORS}", *PICKLES)


class Fetch:
    """One model on its way into the store.

    A directory that does not exist yet is filled beside its place and takes its name when every file is
    verified. An existing directory gets only the files that it lacks, each verified before it replaces
    the old one, so an engine that has the old one open keeps reading what it started with.
    """

    def __init__(self, orders: Orders, progress: Progress) -> None:
        self.orders = orders
        self.progress = progress
        self.wanted = orders.wanted
        progress.label = str(self.wanted)
        self.directory = Path(orders.directory)
        self.staging = self.directory.with_name(self.directory.name + ".partial")
        self.published = self.directory.is_dir()
        self.old = read_manifest(self.directory)
        self.left = ""

    def run(self) -> dict[str, Any]:
        """Fill the directory and return what was downloaded."""
        commit, files = self.remote_files()
        good = self.verified_here(files)
        lacking = [remote for remote in files if remote.name not in good]
        self.make_place()
        good.update(self.fetch(commit, lacking, sum(remote.size for remote in files)))
        records = {remote.name: self.record(remote, good[remote.name]) for remote in files}
        manifest = Manifest(self.wanted, commit, records)
        changed = not self.published or bool(lacking) or manifest != self.old
        if self.published:
            self.replace([remote.name for remote in lacking], manifest)
        else:
            self.publish(manifest)
        fetched = [remote.name for remote in lacking]
        return {"changed": changed, "commit": commit, "fetched": fetched, "left": self.left}

    def make_place(self) -> None:
        """Create the staging directory and those above it, from the store's root down."""
        root = Path(self.orders.root)
        make_root(root)
        above = [path for path in self.directory.parents if root in path.parents]
        for path in [*sorted(above), self.staging]:
            make_directory(path)

    def remote_files(self) -> tuple[str, list[RemoteFile]]:
        """Return the commit and the files to hold; a manifest of the same request needs no hub."""
        if self.old and self.old.wanted == self.wanted:
            files = [RemoteFile(name, k.size, k.sha256) for name, k in self.old.files.items()]
            return self.old.commit, files
        revision = self.wanted.revision
        if self.old and self.old.commit and self.old.wanted.revision == revision:
            # A branch may have moved on; files of two commits do not belong together.
            revision = self.old.commit
        answer = list_files(self.orders, revision)
        listed = [RemoteFile(**item) for item in answer["files"]]
        named = self.named(answer["commit"], listed)
        chosen = select(listed, self.wanted, named)
        asked = selected(listed, self.wanted.include, self.wanted.exclude)
        self.left = rest(asked, chosen, copies(asked, self.wanted, named).kept, WEIGHTS)
        return answer["commit"], chosen

    def named(self, commit: str, listed: list[RemoteFile]) -> dict[str, set[str]]:
        """Return the weights that each index lists, of those that have to be read."""
        if self.wanted.format != SAFETENSORS or self.wanted.include:
            return {}
        indexes = unclear(listed, weights_of(self.wanted))
        if indexes:
            self.make_place()
            download = Download(self.orders, self.staging, commit or self.wanted.revision, indexes)
            download.accept([remote.name for remote in indexes if (self.staging / remote.name).is_file()])
            download.run()
        read = {one.name: read_json(self.staging / one.name, {}) for one in indexes}
        found = {name: body.get("weight_map") for name, body in read.items() if isinstance(body, dict)}
        return {name: set(map(str, weights.values())) for name, weights in found.items() if weights}

    def verified_here(self, files: list[RemoteFile]) -> dict[str, Hashes]:
        """Return the files of the published directory that need not be downloaded."""
        if not self.published:
            return {}
        old = self.old.files if self.old else {}
        trusted = untouched(self.directory, old)
        here = [remote for remote in files if (self.directory / remote.name).is_file()]
        read = hash_files(self.directory, [remote.name for remote in here if remote.name not in trusted])
        good = {}
        for remote in here:
            record = old[remote.name] if remote.name in trusted else None
            found = Hashes(record.size, record.sha256, remote.git_sha1) if record else read[remote.name]
            reason = mismatch(remote, found)
            if found and not reason:
                good[remote.name] = found
            else:
                note(f"{self.directory / remote.name} {reason}: downloading it again")
        return good

    def fetch(self, commit: str, lacking: list[RemoteFile], total: int) -> dict[str, Hashes]:
        """Download and verify the missing files into the staging directory."""
        if not lacking:
            return {}
        download = Download(self.orders, self.staging, commit or self.wanted.revision, lacking)
        held = total - sum(remote.size for remote in lacking)
        self.progress.total = total
        self.progress.done = lambda: held + download.bytes_on_disk()
        download.accept([remote.name for remote in lacking if (self.staging / remote.name).is_file()])
        advice = ", set model_store_root to a larger one, or narrow serve_model_include"
        need = (self.staging, download.bytes_to_fetch())
        require_room(str(self.wanted), [need], self.orders.reserve_bytes, advice)
        return download.run()

    def record(self, remote: RemoteFile, found: Hashes) -> KnownFile:
        """Return the manifest's entry of a file; one that an older manifest vouches for keeps its origin."""
        before = self.old.files.get(remote.name) if self.old else None
        if before and before.sha256 == found.sha256:
            return before
        origin = "hub" if remote.sha256 else "hub-git" if remote.git_sha1 else "first-fetch"
        return KnownFile(found.size, found.sha256, origin)

    def publish(self, manifest: Manifest) -> None:
        """Give the complete staging directory its name in one step."""
        shutil.rmtree(str(self.staging / CLIENT_NOTES), ignore_errors=True)
        for stray in strangers(self.staging, manifest):
            (self.staging / stray).unlink()
        for name in manifest.files:
            settle(self.staging / name)
        manifest.write(self.staging)
        seal(self.staging, manifest)
        for folder in [self.staging, *(path for path in self.staging.rglob("*") if path.is_dir())]:
            make_directory(folder)
            sync(folder)
        self.staging.rename(self.directory)
        sync(self.directory.parent)

    def replace(self, names: list[str], manifest: Manifest) -> None:
        """Replace missing or wrong files with verified ones, then drop what is no longer wanted."""
        for name in names:
            settle(self.staging / name)
            make_directory((self.directory / name).parent)
            (self.staging / name).replace(self.directory / name)
        if names or manifest != self.old:
            # An engine that started before the manifest was written may have loaded other bytes.
            manifest.write(self.directory)
        seal(self.directory, manifest)
        for name in set(self.old.files if self.old else ()) - set(manifest.files):
            (self.directory / name).unlink()
        sync(self.directory)
        shutil.rmtree(str(self.staging))


def seal(directory: Path, manifest: Manifest) -> None:
    """Record that all files are right now, and give both notes their owner."""
    write_stamps(directory, manifest.files)
    for name in (MANIFEST, STAMPS):
        settle(directory / name)


def readers() -> int:
    """Return the group that may read the store; root's where host_base has not run."""
    try:
        return grp.getgrnam(READERS).gr_gid
    except KeyError:
        return os.getegid()


def make_root(root: Path) -> None:
    """Create the store's root and what is missing above it; an existing directory stays as it is."""
    if root.is_dir():
        return
    for path in reversed([path for path in root.parents if not path.exists()]):
        # Other users have to pass through it, whatever the umask of this process.
        path.mkdir()
        os.chown(str(path), os.geteuid(), os.getegid())
        path.chmod(0o755)
    make_directory(root)


def make_directory(path: Path) -> None:
    """Create a directory of the store, readable by engines and writable by root."""
    path.mkdir(parents=True, exist_ok=True)
    os.chown(str(path), -1, readers())
    path.chmod(0o750)


def settle(path: Path) -> None:
    """Set a verified file's owner and mode, and make sure that it is on disk."""
    os.chown(str(path), -1, readers())
    path.chmod(0o640)
    sync(path)


fetch = job_of(Orders, lambda orders, progress: Fetch(orders, progress).run())
JOBS = {"fetch": fetch, "verify": job_of(CheckOrders, verify, "run"), "client": client}
PROGRAM = Program("model-store", __name__, JOBS)
install, main = PROGRAM.install, PROGRAM.main
