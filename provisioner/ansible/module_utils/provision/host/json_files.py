# SPDX-License-Identifier: Apache-2.0
"""Keep notes on a host as JSON files that are whole at any time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .files import replace_file


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


def write_json(path: Path, body: Any, mode: int) -> None:
    """Replace a JSON file in one step."""
    replace_file(path, (json.dumps(body, indent=1) + "\n").encode(), mode)
