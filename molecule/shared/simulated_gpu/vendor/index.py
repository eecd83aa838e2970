# SPDX-License-Identifier: Apache-2.0
"""Index and sign repositories of both kinds, and make the keys; this runs in the builder's container."""

from __future__ import annotations

import gzip
from pathlib import Path

from simulated_gpu.vendor.tools import call

LABEL = "simulated NVIDIA"


def make_key(name: str) -> str:
    """Make a key that signs and never expires; return its fingerprint."""
    who = f"{name} (stand-in for tests) <{name}@example.invalid>"
    call(["gpg", "--batch", "--passphrase=", "--quick-gen-key", who, "rsa2048", "sign", "never"])
    lines = call(["gpg", "--with-colons", "--list-keys", f"{name}@example.invalid"]).splitlines()
    return next(line.split(":")[9] for line in lines if line.startswith("fpr:"))


def public_key(fingerprint: str) -> str:
    """Return a key's public half as text."""
    return call(["gpg", "--armor", "--export", fingerprint])


def index_apt(folder: Path, key: str, label: str = LABEL) -> None:
    """Write Packages, Release and their signatures of a flat repository."""
    packages = call(["apt-ftparchive", "packages", "."], cwd=folder)
    (folder / "Packages").write_text(packages)
    (folder / "Packages.gz").write_bytes(gzip.compress(packages.encode(), mtime=0))
    options = {"Origin": label, "Label": label, "Architectures": "amd64", "Suite": ""}
    words = [f"-oAPT::FTPArchive::Release::{name}={value}" for name, value in options.items()]
    for old in ("InRelease", "Release.gpg", "Release"):
        (folder / old).unlink(missing_ok=True)
    (folder / "Release").write_text(call(["apt-ftparchive", *words, "release", "."], cwd=folder))
    sign = ["gpg", "--batch", "--yes", f"--local-user={key}", "--digest-algo=SHA256"]
    call([*sign, "--clearsign", "--output=InRelease", "Release"], cwd=folder)
    call([*sign, "--armor", "--detach-sign", "--output=Release.gpg", "Release"], cwd=folder)


def index_dnf(folder: Path, key: str | None = None, modules: str = "") -> None:
    """Write repodata; `modules` describes module streams, `key` signs the list."""
    folder.mkdir(parents=True, exist_ok=True)
    call(["createrepo_c", "--quiet", "--general-compress-type=gz", "--no-database", folder])
    if modules:
        described = folder / "modules.yaml"
        described.write_text(modules)
        call(["modifyrepo_c", "--mdtype=modules", "--compress-type=gz", described, folder / "repodata"])
    if key:
        sign = ["gpg", "--batch", "--yes", f"--local-user={key}", "--armor", "--detach-sign"]
        call([*sign, folder / "repodata/repomd.xml"])
