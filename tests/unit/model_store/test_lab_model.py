# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest

from provisioner.errors import LabError
from provisioner.lab import model, process, tiny_model


def test_a_model_that_is_there_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / model.REPO).mkdir(parents=True)
    monkeypatch.delattr(process, "run")
    assert model.ensure(tmp_path) == tmp_path


def test_the_model_appears_when_it_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def run(argv: list[str]) -> None:
        if argv[0] == "env":
            Path(argv[-1]).mkdir()
            (Path(argv[-1]) / "config.json").write_text("{}")
        seen.append((tmp_path / model.REPO).exists())

    monkeypatch.setattr(process, "run", run)
    model.ensure(tmp_path)
    assert seen == [False, False]
    assert [path.name for path in (tmp_path / model.REPO).parent.iterdir()] == ["SmolLM2-135M-Instruct"]


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: list[str]) -> None:
        raise LabError("no index", "look at it")

    monkeypatch.setattr(process, "run", run)
    with pytest.raises(LabError):
        model.ensure(tmp_path)
    assert not list((tmp_path / model.REPO).parent.iterdir())


def test_a_tiny_model_is_well_formed_and_repeatable(tmp_path: Path) -> None:
    one = tiny_model.make(tmp_path / "one", "org/name", shards=1, shard_bytes=64)
    two = tiny_model.make(tmp_path / "two", "org/name", shards=1, shard_bytes=64)
    content = (one / "model-00001-of-00001.safetensors").read_bytes()
    assert content == (two / "model-00001-of-00001.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert json.loads(content[8 : 8 + length])["noise"]["data_offsets"] == [0, 64]
    assert len(content) == 8 + length + 64
