# SPDX-License-Identifier: Apache-2.0
"""Check the words of a host that is to have a container engine, as its role does there."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from packaging.version import Version

from provisioner import content, values
from provisioner.findings import Finding

PREFIX = "container_runtime_"
_VERSION, _CDI = f"{PREFIX}toolkit_version", f"{PREFIX}cdi"
_ADDRESSES = ("repository", "repository_key", "docker_repository", "docker_repository_key")
_EXACT = re.compile(r"([0-9]+\.[0-9]+\.[0-9]+)-[0-9]+")
_ADDRESS = re.compile(r"https?://[^\s/]+/\S+")


@functools.cache
def fixes() -> Sequence[Mapping[str, Any]]:
    """Return the versions of NVIDIA's toolkit that are free of known holes, the oldest first."""
    document: Sequence[Mapping[str, Any]] = yaml.safe_load(
        (content.roles() / "container_runtime/files/fixes.yml").read_text(encoding="utf-8")
    )
    return document


def check(given: Mapping[str, Any]) -> Iterator[Finding]:
    """Find what is wrong with the words of containers, where a host asks for an engine in plain words."""
    engine = given.get(f"{PREFIX}engine")
    if engine not in ("podman", "docker"):
        return
    words = {name: value for name, value in given.items() if not values.is_deferred(value)}
    if _VERSION in words:
        yield from _version(words)
    if engine == "podman" and str(words.get(_CDI)).lower() in ("false", "no", "off", "0"):
        hint = f"set it to true, or set {PREFIX}engine to docker"
        yield _finding(words, _CDI, "is false, and podman gives GPUs to containers by CDI alone", hint)
    for name in (PREFIX + part for part in _ADDRESSES):
        # An empty one is a repository that nobody has named.
        if words.get(name) and not _ADDRESS.fullmatch(str(words[name])):
            yield _finding(words, name, "is no address", "give it as https://host/path")


def _version(words: Mapping[str, Any]) -> Iterator[Finding]:
    exact = _EXACT.fullmatch(str(words[_VERSION]))
    if not exact:
        reason = "is no version with its revision"
        yield _finding(words, _VERSION, reason, "give it as the package has it, such as 1.20.1-1")
        return
    version = Version(exact.group(1))
    holes = [hole for fix in fixes() if version < Version(fix["version"]) for hole in fix["holes"]]
    if holes:
        reason = f"has {', '.join(holes)}, by which a container reaches its host"
        yield _finding(words, _VERSION, reason, f"set it to {fixes()[-1]['version']}-1 or newer")


def _finding(given: Mapping[str, Any], name: str, reason: str, hint: str) -> Finding:
    return Finding(name, reason, given[name], True, hint)
