# SPDX-License-Identifier: Apache-2.0
"""What the files of a model say about its task."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.models.task import of_directory, of_gguf


@pytest.mark.parametrize(
    ("config", "task"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "generate"),
        ({"architectures": ["Qwen2VLForConditionalGeneration"]}, "generate"),
        ({"architectures": ["GPT2LMHeadModel"]}, "generate"),
        ({"architectures": ["BertModel"]}, "embed"),
        ({"architectures": ["XLMRobertaModel"]}, "embed"),
        ({"architectures": ["ChatGLMModel"], "auto_map": {"AutoModelForCausalLM": "x.Y"}}, "generate"),
        ({"architectures": ["BertForSequenceClassification"], "id2label": {"0": "L"}}, "score"),
        ({"architectures": ["XLMRobertaForSequenceClassification"], "num_labels": 1}, "score"),
        ({"architectures": ["BertForSequenceClassification"], "id2label": {"0": "a", "1": "b"}}, "classify"),
        ({"architectures": ["BertForTokenClassification"]}, "classify"),
        ({"architectures": []}, ""),
        ({"architectures": None}, ""),
        ([], ""),
    ],
)
def test_the_architecture_shows_the_task(tmp_path: Path, config: Any, task: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert of_directory(tmp_path)[0] == task


@pytest.mark.parametrize("name", ["modules.json", "1_Pooling/config.json"])
def test_pooling_beside_a_causal_model_makes_embeddings(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["Qwen3ForCausalLM"]}')
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    assert of_directory(tmp_path) == ("embed", name)


def test_a_directory_without_a_configuration_shows_nothing(tmp_path: Path) -> None:
    assert of_directory(tmp_path / "absent") == of_directory(tmp_path) == ("", "")


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(*more: bytes) -> bytes:
    """Return the head of a GGUF file with values of every kind, and more."""
    pairs = [
        text("general.architecture") + struct.pack("<I", 8) + text("bert"),
        text("bert.block_count") + struct.pack("<II", 4, 12),
        text("bert.scale") + struct.pack("<Id", 12, 0.5),
        text("tokenizer.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
        text("tokenizer.scores") + struct.pack("<IIQ2f", 9, 6, 2, 1.0, 2.0),
        *more,
    ]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pairs)


@pytest.mark.parametrize(
    ("content", "task"),
    [
        (gguf(), "generate"),
        *((gguf(text("bert.pooling_type") + struct.pack("<II", 4, kind)), "embed") for kind in (1, 2, 3)),
        (gguf(text("bert.pooling_type") + struct.pack("<II", 4, 4)), "score"),
        (gguf()[:90], "generate"),
        (b"GGUF" + b"\xff" * 40, "generate"),
        (b"", "generate"),
    ],
)
def test_the_kind_of_pooling_in_a_gguf_file_shows_the_task(tmp_path: Path, content: bytes, task: str) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    assert of_gguf(file) == task
