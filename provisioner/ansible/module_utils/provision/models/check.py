# SPDX-License-Identifier: Apache-2.0
"""Read every byte of models in the store and compare it with their manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

from ..jobs.progress import Progress
from .files import STAMPS, Manifest, RemoteFile, hash_files, mismatch, read_manifest, strangers, write_stamps
from .orders import CheckOrders

AGAIN = "run `provision apply`: it downloads that file again and no other"
REMOVE = "remove them: they are of unknown origin, and an engine may load them"


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
    unknown = strangers(directory, manifest)
    if unknown:
        listed = ", ".join(str(directory / name) for name in unknown[:3])
        evidence = f"{len(unknown)} files are not in the manifest: {listed}"
        return {"status": "failed", "evidence": evidence, "next": REMOVE}
    size = sum(record.size for record in manifest.files.values())
    evidence = f"{len(manifest.files)} files, {size / 1e9:.2f} GB, the sha256 of each matches the manifest"
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
