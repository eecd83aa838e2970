# SPDX-License-Identifier: Apache-2.0
"""Make small directories that look like a model to a hub and to the model store; no engine can serve them."""

from __future__ import annotations

import json
import random
from pathlib import Path


def safetensors(size: int, seed: int) -> bytes:
    """Return a well-formed safetensors file of one tensor with `size` bytes of repeatable noise."""
    header = {"noise": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    # Repeatable on purpose: a test compares what two hosts hold.
    return len(text).to_bytes(8, "little") + text + random.Random(seed).randbytes(size)  # noqa: S311


def make(root: Path, repo: str, *, shards: int = 2, shard_bytes: int = 1024**2) -> Path:
    """Write a model of noise below a hub's root and return its directory."""
    folder = root / repo
    folder.mkdir(parents=True)
    names = [f"model-{number + 1:05}-of-{shards:05}.safetensors" for number in range(shards)]
    for seed, name in enumerate(names):
        (folder / name).write_bytes(safetensors(shard_bytes, seed))
    index = {"metadata": {"total_size": shards * shard_bytes}, "weight_map": {name: name for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({"model_type": "stand-in", "architectures": []}))
    return folder
