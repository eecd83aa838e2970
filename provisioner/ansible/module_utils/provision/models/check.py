# SPDX-License-Identifier: Apache-2.0
"""Compare models in the store with their manifests: by what the file system reports, or by every byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

from ..jobs.progress import Progress
from .files import (
    STAMPS,
    Manifest,
    RemoteFile,
    changed,
    hash_files,
    mismatch,
    read_manifest,
    strangers,
    write_stamps,
)
from .orders import CheckOrders

AGAIN = "run `provision apply`: it downloads that file again and no other"
READ = "run `provision apply`: it reads what changed, and downloads again what is wrong"
DEEP = "`provision verify --deep` reads them"
REMOVE = "remove them: they are of unknown origin, and an engine may load them"


def glance(directory: Path, manifest: Manifest) -> dict[str, Any]:
    """Compare one model with its manifest by sizes, times and inodes, as when its hashes were right."""
    names = changed(directory, manifest.files)
    if names:
        more = f" and {len(names) - 1} more files" if len(names) > 1 else ""
        evidence = f"{directory / names[0]}{more} changed since the hashes were checked"
        return {"status": "failed", "evidence": evidence, "next": READ}
    return _foreign(directory, manifest) or _passed(
        manifest, f"unchanged since the sha256 of each was checked; {DEEP}"
    )


def check(
    directory: Path, manifest: Manifest, counted: Callable[[int], object] = lambda _: None
) -> dict[str, Any]:
    """Compare one model with its manifest; a wrong file loses its stamp, so that apply downloads it again."""
    found = hash_files(directory, manifest.files, counted)
    wrong = {}
    for name, record in sorted(manifest.files.items()):
        reason = mismatch(RemoteFile(name, record.size, record.sha256), found[name])
        if reason:
            wrong[name] = f"{directory / name} {reason}"
    if (directory / STAMPS).exists():
        write_stamps(directory, set(manifest.files) - set(wrong))
    if wrong:
        return {"status": "failed", "evidence": "; ".join(wrong.values()), "next": AGAIN}
    return _foreign(directory, manifest) or _passed(manifest, "the sha256 of each matches the manifest")


def _foreign(directory: Path, manifest: Manifest) -> dict[str, Any] | None:
    unknown = strangers(directory, manifest)
    if not unknown:
        return None
    listed = ", ".join(str(directory / name) for name in unknown[:3])
    evidence = f"{len(unknown)} files are not in the manifest: {listed}"
    return {"status": "failed", "evidence": evidence, "next": REMOVE}


def _passed(manifest: Manifest, why: str) -> dict[str, Any]:
    size = sum(record.size for record in manifest.files.values())
    evidence = f"{len(manifest.files)} files, {size / 1e9:.2f} GB, {why}"
    return {"status": "passed", "evidence": evidence, "next": None}


def verify(orders: CheckOrders, progress: Progress) -> dict[str, Any]:
    """Check several models."""
    found = {name: read_manifest(Path(name)) for name in orders.directories}
    held = {name: manifest for name, manifest in found.items() if manifest}
    progress.total = sum(k.size for manifest in held.values() for k in manifest.files.values())
    done: list[int] = []
    progress.done = lambda: sum(done)
    results = {name: check(Path(name), manifest, done.append) for name, manifest in held.items()}
    return {"results": results}
