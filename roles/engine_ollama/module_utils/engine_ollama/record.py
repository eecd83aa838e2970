# SPDX-License-Identifier: Apache-2.0
"""Keep root's record of what provision has created in each models directory of Ollama."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from ansible.module_utils.provision.host.files import read_json, write_json

STATE = Path("/var/lib/provision/ollama")


def record_path(root: str) -> Path:
    """Return the path of a models directory's record, out of reach of the engine's user."""
    name = root.strip("/").replace("-", "--").replace("/", "-")
    return STATE / f"{name}.json"


def read_record(root: str) -> dict[str, Any]:
    """Return what provision has created in a models directory."""
    found = read_json(record_path(root), {})
    return {"root": root, "models": {}, "stamps": {}, **found}


def write_record(record: dict[str, Any]) -> None:
    """Write a record, or remove that of a directory without models."""
    path = record_path(record["root"])
    if record["models"]:
        write_json(path, record, 0o600)
    else:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # other directories' records are in it
            path.parent.rmdir()


def records() -> list[dict[str, Any]]:
    """Return the record of every models directory of this host."""
    roots = (read_json(path, {}).get("root") for path in sorted(STATE.glob("*.json")))
    return [read_record(root) for root in roots if root]
