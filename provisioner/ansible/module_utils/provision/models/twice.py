# SPDX-License-Identifier: Apache-2.0
"""Find the weights that a repository has twice, so that a download takes them once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Collection, Iterable, Mapping

from ..host.fault import Fault
from .files import SAFETENSORS, RemoteFile

INDEX = ".index.json"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")
# What a repository also has in the layout of those who trained the model, or in another precision.
_COPY = re.compile(r"consolidated[.-]|\.(fp16|bf16|fp32|fp8|non_ema)[.-]")
_COPIES = {"original", "consolidated", "metal", "fp16", "bf16", "fp32", "fp8"}
# A folder beside the weights may be a part of the model, such as an adapter, which is far smaller.
_SHARE_OF_A_COPY = 0.2
_SMALLEST = 1024**2
Named = Mapping[str, Collection[str]]


@dataclass(frozen=True)
class Copies:
    """Hold the files to leave out, and what has the same weights."""

    files: tuple[RemoteFile, ...]
    kept: str = ""


def rest(asked: list[RemoteFile], chosen: list[RemoteFile], kept: str, weights: tuple[str, ...]) -> str:
    """Return which weights are not downloaded as a message shows it, empty if there are none."""
    taken = {remote.name for remote in chosen}
    left = [one for one in asked if one.name not in taken and one.name.lower().endswith(weights)]
    # Smaller ones are notes of a training.
    left = [one for one in left if one.size >= _SMALLEST]
    if not left or not kept:
        return ""
    shown = ", ".join(remote.name for remote in left[:3]) + (", …" if len(left) > 3 else "")
    size = sum(remote.size for remote in left)
    measured = f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
    because = f"{kept} has the weights already; serve_model_include chooses others"
    return f"not downloaded: {shown} ({measured}), because {because}"


def find(files: list[RemoteFile], weights: tuple[str, ...], named: Named) -> Copies:
    """Return the copies among files; `named` has the weights that each index lists, as far as it was read."""
    beside = _beside(files, weights)
    kept, what = _set([remote.name for remote in beside], {remote.name for remote in files}, named)
    if not kept:
        return Copies(())
    out = [remote for remote in beside if remote.name not in kept]
    size = sum(remote.size for remote in files if remote.name in kept)
    for folder in sorted({remote.name.partition("/")[0] for remote in files if "/" in remote.name}):
        inside = [remote for remote in files if remote.name.startswith(f"{folder}/")]
        heavy = [remote for remote in inside if remote.name.endswith(weights)]
        is_large = sum(remote.size for remote in heavy) >= _SHARE_OF_A_COPY * size
        if heavy and (folder in _COPIES or is_large) and not any(one.name in kept for one in heavy):
            out += inside
    for index, shards in named.items():
        missing = sorted(set(shards) - {remote.name for remote in files})
        if missing and kept & set(shards):
            raise Fault(
                f"{index} lists {missing[0]}, which the repository does not contain",
                "choose another model or revision, or wait until its upload is complete",
            )
    # Engines would look for what such an index lists.
    out += [remote for remote in files if not kept >= set(named.get(remote.name, ()))]
    return Copies(tuple(out), what)


def unclear(files: list[RemoteFile], weights: tuple[str, ...]) -> list[RemoteFile]:
    """Return the indexes to be read, because names alone do not show which weights belong together."""
    beside = [remote.name for remote in _beside(files, weights)]
    indexes = [remote for remote in files if "/" not in remote.name and remote.name.endswith(INDEX)]
    return [one for one in indexes if set(beside) != _shards(one.name, beside)]


def _beside(files: list[RemoteFile], weights: tuple[str, ...]) -> list[RemoteFile]:
    """Return the weights that are in no folder of the repository, where engines look for them."""
    return [remote for remote in files if "/" not in remote.name and remote.name.endswith(weights)]


def _set(names: list[str], listed: set[str], named: Named) -> tuple[set[str], str]:
    """Return the names of one complete set of weights, and what it is."""
    for index in sorted((name for name in listed if name.endswith(INDEX) and "/" not in name), key=_rank):
        shards = set(named[index]) if index in named else _shards(index, names)
        if shards and shards <= listed:
            return shards, f"the set in {index}"
    for suffix in (f".{SAFETENSORS}", ""):
        plain = {name for name in names if name.endswith(suffix) and not _COPY.search(name)}
        if plain:
            split = [one for one in map(_SHARD.fullmatch, plain) if one]
            # Without an index as well, the parts have the weights of the whole file beside them.
            kept = plain - {one["stem"] + one["suffix"] for one in split}
            return kept, min(kept) + (" with its other parts" if split else "")
    return set(), ""


def _rank(index: str) -> tuple[bool, bool, str]:
    return SAFETENSORS not in index, bool(_COPY.search(index)), index


def _shards(index: str, names: Iterable[str]) -> set[str]:
    """Return the parts that belong to an index by their names, if none is missing."""
    stem, dot, suffix = index[: -len(INDEX)].rpartition(".")
    found = [_SHARD.fullmatch(name) for name in names]
    parts = [one for one in found if one and (one["stem"], one["suffix"]) == (stem, dot + suffix)]
    return {one[0] for one in parts} if parts and len(parts) == int(parts[0]["count"]) else set()
