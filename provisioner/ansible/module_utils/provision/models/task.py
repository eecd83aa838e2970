# SPDX-License-Identifier: Apache-2.0
"""Read from a model's own files what it was made for: to generate text, embed it, score it or classify it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO, Iterator

from ..host.files import read_json

GENERATE, EMBED, SCORE, CLASSIFY = "generate", "embed", "score", "classify"
# The last words of an architecture's name, as the library that writes config.json uses them.
_ENDINGS = (
    ("ForCausalLM", GENERATE),
    ("ForConditionalGeneration", GENERATE),
    ("LMHeadModel", GENERATE),
    ("ChatModel", GENERATE),
    ("Classification", CLASSIFY),
    ("ClassificationModel", CLASSIFY),
    ("RewardModel", CLASSIFY),
    ("ForMaskedLM", EMBED),
    ("ForTextEncoding", EMBED),
    ("Model", EMBED),
)
_MODULES, _POOLING = "modules.json", "1_Pooling/config.json"
_RANK = 4
# Formats of the numbers in a GGUF header; 8 is a text and 9 an array.
_NUMBERS = ("<B", "<b", "<H", "<h", "<I", "<i", "<f", "<?", "", "", "<Q", "<q", "<d")
_TEXT, _ARRAY = 8, 9
_MOST_KEYS, _LONGEST = 4096, 1 << 24


def of_directory(directory: Path) -> tuple[str, str]:
    """Return the task that a directory's files show, and which file does; both are empty if none does."""
    for name in (_MODULES, _POOLING):
        if (directory / name).is_file():
            return EMBED, name
    config = read_json(directory / "config.json", {})
    config = config if isinstance(config, dict) else {}
    if "AutoModelForCausalLM" in (config.get("auto_map") or {}):
        return GENERATE, "AutoModelForCausalLM in config.json"
    named = config.get("architectures")
    for architecture in map(str, named or ()):
        for ending, task in _ENDINGS:
            if architecture.endswith(ending):
                single = task == CLASSIFY and _labels(config) == 1
                return (SCORE if single else task), f"{architecture} in config.json"
    return "", ""


def _labels(config: dict[str, Any]) -> int:
    """Return the number of classes; a model with one gives a score."""
    labels = config.get("id2label")
    return len(labels) if isinstance(labels, dict) else int(config.get("num_labels") or 2)


def of_gguf(file: Path) -> str:
    """Return the task that a GGUF file's metadata show; without a kind of pooling, it generates."""
    try:
        with file.open("rb") as stream:
            for key, value in _metadata(stream):
                if key.endswith(".pooling_type"):
                    return SCORE if value == _RANK else EMBED
    except (OSError, ValueError, IndexError, struct.error):
        pass  # a file that cannot be read is reported by the engine, with its own reason
    return GENERATE


def _metadata(stream: BinaryIO) -> Iterator[tuple[str, Any]]:
    if stream.read(4) != b"GGUF" or _number(stream, "<I") < 2:
        return
    _number(stream, "<Q")  # the number of tensors
    for _ in range(min(_number(stream, "<Q"), _MOST_KEYS)):
        key = _text(stream).decode("utf-8", errors="replace")
        yield key, _value(stream, _number(stream, "<I"))


def _value(stream: BinaryIO, kind: int) -> Any:
    if kind == _TEXT:
        return _text(stream)
    if kind != _ARRAY:
        return _number(stream, _NUMBERS[kind])
    item, count = _number(stream, "<I"), _number(stream, "<Q")
    if item in (_TEXT, _ARRAY):
        for _ in range(count):
            _value(stream, item)
    else:
        stream.seek(count * struct.calcsize(_NUMBERS[item]), 1)
    return None


def _text(stream: BinaryIO) -> bytes:
    length = _number(stream, "<Q")
    if length > _LONGEST:
        raise ValueError("a text of this length is not metadata")
    return stream.read(length)


def _number(stream: BinaryIO, form: str) -> Any:
    return struct.unpack(form, stream.read(struct.calcsize(form)))[0]
