# SPDX-License-Identifier: Apache-2.0
"""However the job of a model ends, its directory is whole or not there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.jobs import patience
from ansible.module_utils.provision.models import download, fetch
from ansible.module_utils.provision.models.files import Wanted, doubt

from tests.host.jobs.breaking import Case, break_everywhere, each_error

FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 1000}


def answers(
    _orders: object, request: dict[str, Any], _alive: object, *, xet: bool = True
) -> Iterator[dict[str, Any]]:
    """Answer as a hub's client, at once."""
    del xet
    if request["action"] == "list":
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
        listed = [
            {"name": name, "size": len(content), "sha256": sums[name], "git_sha1": ""}
            for name, content in FILES.items()
        ]
        yield {"ok": True, "commit": "abc", "files": listed}
        return
    for one in request["files"]:
        Path(request["directory"], one["name"]).write_bytes(FILES[one["name"]])
        yield {"ok": True, "name": one["name"]}


@each_error
def test_a_model_is_whole_or_not_there(tmp_path: Path, error: BaseException | None) -> None:
    def prepare(folder: Path, patch: pytest.MonkeyPatch) -> Case:
        patch.setattr(download, "answers", answers)
        patch.setattr(patience.time, "sleep", lambda _: None)
        patch.setattr(fetch, "READERS", "no-such-group")
        directory = folder / "models/huggingface/org/name"
        spec = {
            "source": "huggingface",
            "model": "org/name",
            "revision": "main",
            "title": "Download it",
            "endpoint": "http://hub",
            "root": str(folder / "models"),
            "directory": str(directory),
            "reserve_bytes": 0,
            "stall_seconds": 30,
            "attempts": 2,
            "workers": 1,
            "token_file": "",
        }

        def failed() -> None:
            assert not directory.exists() or not doubt(directory, Wanted.of(spec))

        def done() -> None:
            assert not doubt(directory, Wanted.of(spec))

        return Case(fetch.PROGRAM, "fetch", spec, failed, done)

    assert break_everywhere(prepare, tmp_path, error) > 50
