# SPDX-License-Identifier: Apache-2.0
"""Change repositories that were built: sign one with a new key, or take packages out; for the container."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from simulated_gpu.vendor import drivers, index, main
from simulated_gpu.vendor.tools import call


def repositories(root: Path) -> list[Path]:
    """Return every repository of either kind below a folder."""
    apt = {path.parent for path in root.rglob("Release")}
    dnf = {path.parent.parent for path in root.rglob("repomd.xml")}
    return sorted(apt | dnf)


def reindex(folder: Path, key: str, *, sign_list: bool) -> None:
    """Write a repository's lists again, as main.py does."""
    if (folder / "Release").exists():
        index.index_apt(folder, key)
        return
    major = folder.parent.name.removeprefix("rhel")
    has_streams = folder.parent.name.startswith("rhel") and int(major) != max(main.MAJORS)
    modules = drivers.streams(main.table("drivers"), int(major)) if has_streams else ""
    shutil.rmtree(folder / "repodata")
    index.index_dnf(folder, key if sign_list else None, modules)


def rotate(root: Path) -> str:
    """Sign every repository below `root` with a new key, which is offered in the old one's place."""
    key = index.make_key("rotated")
    for folder in repositories(root):
        sign_list = (folder / "repodata/repomd.xml.asc").exists()
        if rpms := [] if sign_list else sorted(folder.glob("*.rpm")):
            call(["rpmsign", f"--define=_gpg_name {key}", "--resign", *rpms])
        reindex(folder, key, sign_list=sign_list)
    for pattern in ("*.pub", "gpgkey"):
        for path in root.rglob(pattern):
            path.write_text(index.public_key(key))
    return key


def withdraw(root: Path, names: list[str], old: dict[str, str]) -> int:
    """Take every package of these names (globs) out; return how many there were."""
    gone = 0
    for folder in repositories(root):
        files = {
            file
            for name in names
            for file in (*folder.glob(f"{name}_*.deb"), *folder.glob(f"{name}-[0-9]*.rpm"))
        }
        for file in files:
            file.unlink()
        if files:
            reindex(folder, old["key"], sign_list=(folder / "repodata/repomd.xml.asc").exists())
        gone += len(files)
    return gone


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="change simulated repositories")
    parser.add_argument("verb", choices=["rotate", "withdraw"])
    parser.add_argument("root", type=Path)
    parser.add_argument("--secret", type=Path, help="the keys that signed them, to sign what stays")
    parser.add_argument("--key", default="")
    parser.add_argument("names", nargs="*")
    return parser.parse_args()


def run() -> None:
    """Do what the command line says."""
    given = _arguments()
    if given.secret:
        call(["gpg", "--batch", "--import", given.secret])
    if given.verb == "rotate":
        (given.root / ".rotated").write_text(rotate(given.root))
        return
    if not withdraw(given.root, given.names, {"key": given.key}):
        raise SystemExit(f"no package {' '.join(given.names)} below {given.root}")


if __name__ == "__main__":
    run()
