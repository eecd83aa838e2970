# SPDX-License-Identifier: Apache-2.0
"""However the job of Ollama's models ends, no file of its own is left among the blobs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from ansible.module_utils.engine_ollama import job
from ansible.module_utils.engine_ollama.store import Store
from ansible.module_utils.engine_ollama.wanted import wanted

from tests.host.jobs.breaking import Case, break_everywhere, each_error
from tests.unit.ollama.conftest import FakeOllama
from tests.unit.ollama.registry import Registry
from tests.unit.ollama.test_job import WEIGHTS, service


@each_error
def test_models_are_whole_or_not_there(
    registry: Registry, ollama: FakeOllama, tmp_path: Path, error: BaseException | None
) -> None:
    registry.add("library/small:1", WEIGHTS, template=b"{{ .Prompt }}")
    (model,) = wanted(service(engine_ollama_system="one"), "", {})

    def prepare(folder: Path, _patch: pytest.MonkeyPatch) -> Case:
        ollama.root = folder / "models"
        ollama.root.mkdir()
        spec = {
            "title": "models",
            "root": str(ollama.root),
            "binary": "/nowhere/ollama",
            "registry": registry.url,
            "models": [asdict(model)],
            "entries": {model.name: {"made": True, "pending": True}},
            "stamps": {},
            "staged": {},
            "environment": {},
            "attempts": 3,
            "stall_seconds": 30,
            "reserve_bytes": 0,
        }
        store = Store(ollama.root)

        def whole() -> None:
            assert not list((ollama.root / "blobs").glob("provision-*"))
            for blob in (ollama.root / "blobs").glob("sha256-*"):
                assert not store.wrong(blob.name.replace("-", ":"))

        return Case(job.PROGRAM, "ensure", spec, whole, whole)

    assert break_everywhere(prepare, tmp_path, error) > 50
