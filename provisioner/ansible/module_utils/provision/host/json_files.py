# SPDX-License-Identifier: Apache-2.0
"""Keep notes on a host as JSON files that are whole at any time."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def read_json(path: Path, default: Any) -> Any:
    """Return what a JSON file holds, or the default when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return default


def write_json(path: Path, body: Any, mode: int) -> None:
    """Replace a JSON file in one step, on disk before it takes its name; its folder is made for everybody."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".new")
    # One that a broken-off run left keeps the mode it was made with.
    partial.unlink(missing_ok=True)
    descriptor = os.open(str(partial), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(body, stream, indent=1)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
