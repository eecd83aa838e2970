# SPDX-License-Identifier: Apache-2.0
"""Replace files of a host in one step, so that they are whole at any time, and keep notes as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable


def replace_file(
    path: Path, content: bytes, mode: int, group: int = -1, check: Callable[[Path], object] = lambda _: None
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


def read_json(path: Path, default: Any) -> Any:
    """Return what a JSON file holds, or the default when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return default


def keep_json(path: Path, body: Any, mode: int) -> None:
    """Replace a JSON file in one step, or remove it when there is nothing to keep."""
    if body:
        write_json(path, body, mode)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, body: Any, mode: int, group: int = -1) -> None:
    """Replace a JSON file in one step."""
    replace_file(path, (json.dumps(body, indent=1) + "\n").encode(), mode, group)
