# SPDX-License-Identifier: Apache-2.0
"""Choose which of a model's files to keep: the weights of one format and what engines read beside them."""

from __future__ import annotations

import fnmatch
from typing import Iterable

from ..host.fault import Fault
from .files import CLIENT_NOTES, SAFETENSORS, RemoteFile, Wanted
from .gguf import the_one, whole
from .twice import Copies, Named, find

GGUF = "gguf"
TITLES = {SAFETENSORS: "safetensors", GGUF: "GGUF"}
BESIDE = (".json", ".jsonl", ".txt", ".model", ".tiktoken", ".jinja", ".jinja2", ".vocab", ".merges", ".spm")
NOTICES = ("LICENSE*", "NOTICE*", "*/LICENSE*", "*/NOTICE*")
# Loading these can run code that their author wrote.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
CODE = (".py",)


def select(files: list[RemoteFile], wanted: Wanted, named: Named | None = None) -> list[RemoteFile]:
    """Choose the files to download, or refuse: names that escape, formats that can run code, no weights.

    `named` has the weights that each index lists; weights that are there twice are taken once.
    """
    for remote in files:
        reason = _unsafe_name(remote.name)
        if reason:
            raise Fault(
                f"{wanted} lists a file named {remote.name!r}, which {reason}",
                "do not use this model: the name would be written outside of its directory",
            )
    asked = selected(files, wanted.include, wanted.exclude)
    risky = wanted.allow_unsafe and wanted.format == SAFETENSORS
    weights = weights_of(wanted)
    suffixes = (*weights, *BESIDE, *(CODE if risky else ()))
    chosen = [r for r in asked if r.name.lower().endswith(suffixes) or _matches(r.name, NOTICES)]
    if not any(remote.name.lower().endswith(weights) for remote in chosen):
        raise _without_weights(asked, len(files), wanted)
    left = set(copies(chosen, wanted, named or {}).files)
    chosen = [remote for remote in chosen if remote not in left or _matches(remote.name, NOTICES)]
    if wanted.format == GGUF:
        the_one(chosen, f"{wanted} offers")
    return chosen


def weights_of(wanted: Wanted) -> tuple[str, ...]:
    """Return the endings of the files with weights that may be downloaded."""
    risky = wanted.allow_unsafe and wanted.format == SAFETENSORS
    return (f".{wanted.format}", *(PICKLES if risky else ()))


def copies(files: list[RemoteFile], wanted: Wanted, named: Named) -> Copies:
    """Return the weights that are there twice, unless the inventory itself chooses the files."""
    if wanted.format != SAFETENSORS or wanted.include:
        return Copies(())
    return find(files, weights_of(wanted), named)


def selected(files: list[RemoteFile], include: Iterable[str], exclude: Iterable[str]) -> list[RemoteFile]:
    """Return the files that the globs select; a part of a split GGUF model includes the others."""
    patterns = tuple(include)
    taken = {whole(r.name) for r in files if not patterns or _matches(r.name, patterns)}
    return [r for r in files if whole(r.name) in taken and not _matches(r.name, exclude)]


def _without_weights(asked: list[RemoteFile], listed: int, wanted: Wanted) -> Fault:
    title = TITLES[wanted.format]
    other = SAFETENSORS if wanted.format == GGUF else GGUF
    pickles = [remote.name for remote in asked if remote.name.endswith(PICKLES)]
    if any(remote.name.lower().endswith(f".{other}") for remote in asked):
        return Fault(
            f"{wanted} offers {TITLES[other]} and no {title} file, but this service's engine reads {title}",
            f"choose a model in {title}, or another engine: `provision engines` lists what each one reads",
        )
    if pickles and wanted.format == SAFETENSORS:
        return Fault(
            f"{wanted} has no {title} file, only formats that can run code when they are loaded: "
            + ", ".join(pickles[:3]),
            f"choose another model, or accept the risk by adding {wanted.model} to model_store_unsafe_models",
        )
    return Fault(
        f"{wanted} offers no {title} file among the {len(asked)} selected of {listed} files",
        "check serve_model, serve_model_include and serve_model_exclude",
    )


def _matches(name: str, patterns: Iterable[str]) -> bool:
    # A name also matches itself literally: one that contains brackets would not match as a pattern.
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _unsafe_name(name: str) -> str:
    parts = name.split("/")
    if not name or name.startswith("/") or ".." in parts:
        return "leads out of the model's directory"
    if "\\" in name or any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "contains characters that no model needs"
    if parts[0] == CLIENT_NOTES or name.startswith(".provision-"):
        return "is reserved for the store"
    return ""
