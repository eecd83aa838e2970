# SPDX-License-Identifier: Apache-2.0
"""What the tests with real clients look at: the served directory, and what a fetch said."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.module_utils.provision.models.files import Wanted, doubt

ONE = "model-00001-of-00002.safetensors"
TWO = "model-00002-of-00002.safetensors"
Orders = Callable[..., dict[str, Any]]


def outcome(spec: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(Path(spec["result"]).read_text())
    return told


def sums(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file() and not path.name.startswith(".provision-")
    }


def assert_served_whole(hub: Any, spec: dict[str, Any]) -> None:
    directory = Path(spec["directory"])
    assert sums(directory) == sums(hub.model)
    assert not directory.with_name(directory.name + ".partial").exists()
    assert doubt(directory, Wanted.of(spec)) == ""


def assert_nothing_served(spec: dict[str, Any]) -> None:
    assert not Path(spec["directory"]).exists()


def flip(path: Path) -> None:
    """Change one byte in place."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
