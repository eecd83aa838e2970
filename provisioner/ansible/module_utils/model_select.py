# SPDX-License-Identifier: Apache-2.0
"""Choose which of a model's files to hold: safetensors or GGUF and what engines read beside them."""

from __future__ import annotations

import fnmatch
from typing import Iterable

from ansible.module_utils.model_files import CLIENT_NOTES, RemoteFile, StoreFault, Wanted

WEIGHTS = (".safetensors", ".gguf")
COMPANIONS = (
    ".json",
    ".jsonl",
    ".txt",
    ".model",
    ".tiktoken",
    ".jinja",
    ".jinja2",
    ".vocab",
    ".merges",
    ".spm",
)
NOTICES = ("LICENSE*", "NOTICE*", "*/LICENSE*", "*/NOTICE*")
# Loading these can run code that their author wrote.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
CODE = (".py",)


def select(files: list[RemoteFile], wanted: Wanted) -> list[RemoteFile]:
    """Choose the files to fetch, or refuse: names that escape, formats that can run code, no weights."""
    for remote in files:
        reason = _unsafe_name(remote.name)
        if reason:
            raise StoreFault(
                f"{wanted} lists a file named {remote.name!r}, which {reason}",
                "do not use this model: the name would be written outside of its directory",
            )
    asked = [remote for remote in files if _asked_for(remote.name, wanted)]
    suffixes = WEIGHTS + COMPANIONS + (PICKLES + CODE if wanted.allow_unsafe else ())
    chosen = [r for r in asked if r.name.endswith(suffixes) or _matches(r.name, NOTICES)]
    weights = WEIGHTS + (PICKLES if wanted.allow_unsafe else ())
    if any(remote.name.endswith(weights) for remote in chosen):
        return chosen
    pickles = [remote.name for remote in asked if remote.name.endswith(PICKLES)]
    if pickles:
        raise StoreFault(
            f"{wanted} has no safetensors or GGUF file, only formats that can run code when they are loaded: "
            + ", ".join(pickles[:3]),
            f"choose another model, or accept the risk by adding {wanted.model} to model_store_unsafe_models",
        )
    raise StoreFault(
        f"{wanted} offers no safetensors or GGUF file among the {len(asked)} of {len(files)} files asked for",
        "check serve_model, serve_model_include and serve_model_exclude",
    )


def _asked_for(name: str, wanted: Wanted) -> bool:
    included = not wanted.include or _matches(name, wanted.include)
    return included and not _matches(name, wanted.exclude)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _unsafe_name(name: str) -> str:
    parts = name.split("/")
    if not name or name.startswith("/") or ".." in parts:
        return "leads out of the model's directory"
    if "\\" in name or any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "holds characters that no model needs"
    if parts[0] == CLIENT_NOTES or name.startswith(".provision-"):
        return "is one that the store keeps for itself"
    return ""
