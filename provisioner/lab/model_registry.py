# SPDX-License-Identifier: Apache-2.0
"""Lay a GGUF file out as Ollama's registry holds a model: a manifest and blobs named by their hash."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.ollama.image."
# No system prompt: with the one that it was trained on, these weights of 4 bits do not know Paris.
TEMPLATE = """\
{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
PARAMETERS = {"stop": ["<|im_start|>", "<|im_end|>"]}
CONFIG = {
    "model_format": "gguf",
    "model_family": "llama",
    "model_families": ["llama"],
    "model_type": "134.52M",
    "file_type": "Q4_1",
    "architecture": "amd64",
    "os": "linux",
}


def write(folder: Path, tag: str, gguf: Path, licence: bytes) -> None:
    """Write the model's tree below `folder`; the weights are a link to `gguf` where that is possible."""
    blobs = folder / "blobs"
    blobs.mkdir(parents=True)
    layers = [_file(blobs, "model", gguf)]
    layers += [
        _layer(blobs, kind, content)
        for kind, content in {
            "template": TEMPLATE.encode(),
            "license": licence,
            "params": json.dumps(PARAMETERS).encode(),
        }.items()
    ]
    config = CONFIG | {"rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": TYPE,
        "config": _blob(blobs, CONFIG_TYPE, json.dumps(config).encode()),
        "layers": layers,
    }
    (folder / "manifests").mkdir()
    (folder / "manifests" / tag).write_text(json.dumps(manifest))


def _layer(blobs: Path, kind: str, content: bytes) -> dict[str, Any]:
    return _blob(blobs, LAYER_TYPE + kind, content)


def _blob(blobs: Path, media_type: str, content: bytes) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    (blobs / digest).write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _file(blobs: Path, kind: str, path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    try:
        (blobs / digest).hardlink_to(path)
    except OSError:  # another file system, or one that knows no links
        shutil.copyfile(path, blobs / digest)
    return {"mediaType": LAYER_TYPE + kind, "digest": digest, "size": path.stat().st_size}
