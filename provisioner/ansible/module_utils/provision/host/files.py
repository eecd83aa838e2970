# SPDX-License-Identifier: Apache-2.0
"""Replace files of a host in one step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable


def replace_file(
    path: Path,
    content: bytes,
    mode: int,
    group: int = -1,
    check: Callable[[Path], object] = lambda _: None,
) -> None:
    """Replace a file so that no one ever reads half of it; its folder is created for everyone to read.

    The content is on disk, with its mode and owner, before it takes the file's name. `check` may refuse the
    new file before; until then only root can read it.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.new")
    # One that an interrupted run left keeps the mode it was created with.
    partial.unlink(missing_ok=True)
    descriptor = os.open(str(partial), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            check(partial)
            os.fchown(stream.fileno(), -1, group)
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def replace_link(path: Path, target: Path) -> None:
    """Replace a symbolic link, or create it, so that no one ever finds it missing."""
    partial = path.with_name(f".{path.name}.new")
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    partial.replace(path)
