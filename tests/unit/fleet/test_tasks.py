# SPDX-License-Identifier: Apache-2.0
"""What `plan` says about models that generate no text."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.errors import InventoryError
from provisioner.fleet import inventory, spec

LLAMACPP = "serve_engine=llamacpp serve_model=nomic-ai/nomic-embed-text-v1.5-GGUF"


def problems(path: Path, words: str) -> list[str]:
    path.write_text(f"gpu1 {words}\n")
    try:
        spec.load(inventory.load(str(path)))
    except InventoryError as error:
        return [problem.reason for problem in error.problems]
    return []


@pytest.mark.parametrize(
    "words",
    [
        "serve_engine=vllm serve_model=Qwen/Qwen3-Embedding-0.6B",
        "serve_engine=vllm serve_model=BAAI/bge-reranker-v2-m3",
        "serve_engine=vllm serve_model=a/b serve_task=classify",
        "serve_engine=ollama serve_model=nomic-embed-text serve_model_source=ollama",
        LLAMACPP,
        f"{LLAMACPP} serve_task=score",
        "serve_engine=transformers serve_model=a/embedded-chat serve_task=generate",
    ],
)
def test_takes_what_the_engine_can_serve(tmp_path: Path, words: str) -> None:
    assert problems(tmp_path / "one.ini", words) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            "serve_engine=transformers serve_model=sentence-transformers/all-MiniLM-L6-v2",
            "is a model for another task (embed) by its name, but Transformers supports generate",
        ),
        (
            "serve_engine=ollama serve_model=a/bge-reranker-v2-m3-GGUF serve_model_source=huggingface",
            "is a model for another task (score) by its name, but Ollama supports generate, embed",
        ),
        ("serve_engine=ollama serve_model=a/b serve_task=score", "must be one of auto, generate, embed for"),
        (
            "serve_engine=vllm serve_model=a/b serve_task=embedding",
            "must be one of auto, generate, embed, sc",
        ),
        (
            "serve_engine=vllm serve_model=a/b serve_task=embed serve_verify_expect=Paris",
            "cannot be set with serve_task = embed, because the answer is not a text",
        ),
        (
            """serve_engine=vllm serve_model=a/b serve_args='["--runner", "pooling"]'""",
            "--runner is set from inventory variables and cannot be given again",
        ),
        (
            f"""{LLAMACPP} serve_args='["--embeddings", "--pooling", "mean"]'""",
            "--embeddings is set from inventory variables and cannot be given again",
        ),
        (
            f"""{LLAMACPP} serve_env='{{"LLAMA_ARG_RERANKING": 1}}'""",
            "LLAMA_ARG_RERANKING cannot be given here",
        ),
    ],
)
def test_refuses_the_rest_with_the_reason(tmp_path: Path, words: str, says: str) -> None:
    (found,) = problems(tmp_path / "one.ini", words)
    assert says in found
