# SPDX-License-Identifier: Apache-2.0
"""Find files of the model store that are not its readers' any more, and give them back.

The store outlives its group: `remove` keeps models, and a data disk outlives a system. The next group of the
same name has another number, and the old number may belong to someone else.
"""

from __future__ import annotations

import grp
import os
from pathlib import Path

from ..host.reach import READERS
from .files import MANIFEST, STAMPS, read_manifest, untouched, write_stamps

# What the store's root contains besides libraries of engines, which have a mark of their own.
CONTENTS = {"huggingface", "modelscope", "lost+found"}
MARK = ".provision"


def strayed(root: Path, directory: Path) -> list[Path]:
    """Return the store's paths of one model that do not belong to root and the store's readers."""
    manifest = read_manifest(directory)
    try:
        readers = grp.getgrnam(READERS).gr_gid
    except KeyError:
        return []  # host_base has not run
    if manifest is None or root not in directory.parents:
        return []
    above = [path for path in directory.parents if root in path.parents]
    # With anything else in it, the root is not the store's alone.
    if all(path.name in CONTENTS or (path / MARK).exists() for path in root.iterdir()):
        above.append(root)
    files = [directory / name for name in (*manifest.files, MANIFEST, STAMPS)]
    folders = {path for file in files for path in file.parents if directory in path.parents}
    paths = [*reversed(above), directory, *sorted(folders), *files]
    return [path for path in paths if path.exists() and not _is_right(path, readers)]


def _is_right(path: Path, readers: int) -> bool:
    found = path.stat()
    return (found.st_uid, found.st_gid) == (0, readers)


def give_back(directory: Path, paths: list[Path]) -> None:
    """Give paths of one model to root and the store's readers; files that were right stay known as right."""
    manifest, readers = read_manifest(directory), grp.getgrnam(READERS).gr_gid
    right = untouched(directory, manifest.files if manifest else ())
    for path in paths:
        os.chown(str(path), 0, readers)
    write_stamps(directory, right)
    os.chown(str(directory / STAMPS), 0, readers)
