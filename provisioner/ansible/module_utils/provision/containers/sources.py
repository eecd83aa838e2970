# SPDX-License-Identifier: Apache-2.0
"""Find package sources of NVIDIA's container toolkit that somebody else has added, however spelt."""

from __future__ import annotations

import re
from pathlib import Path

from ..host.repository import APT_SOURCES, DNF_SOURCES

NAME = "container-toolkit"
# Where NVIDIA has published it: under these names apt saw one repository with two keys.
PUBLISHED = (
    "nvidia.github.io/libnvidia-container",
    "nvidia.github.io/nvidia-container-runtime",
    "nvidia.github.io/nvidia-docker",
)
SUFFIXES = (".list", ".sources", ".repo")
ROOT = Path("/")


def stale(repository: str, root: Path = ROOT) -> list[Path]:
    """Return source files that name a repository of the toolkit and are not ours."""
    named = re.compile("|".join([*map(re.escape, PUBLISHED), _spellings(repository)]))
    files = [path for folder in (APT_SOURCES, DNF_SOURCES) for path in sorted((root / folder).glob("*"))]
    found = []
    for path in [root / "etc/apt/sources.list", *files]:
        if path.suffix not in SUFFIXES or path.stem == f"provision-{NAME}" or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if any(map(named.search, in_use(text))):
            found.append(path)
    return found


def in_use(text: str) -> list[str]:
    """Return the lines of a source file that count: no comments, no part that is switched off."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("#", ";"))]
    parts: list[list[str]] = [[]]
    for line in lines:
        if line.startswith("[") or not line.strip():
            parts.append([])
        parts[-1].append(line)
    off = re.compile(r"\s*(enabled\s*[=:]\s*(0|no|false))\s*", re.IGNORECASE)
    return [line for part in parts if not any(map(off.fullmatch, part)) for line in part]


def may_move(path: Path) -> bool:
    """Return whether a file can go as a whole: the distribution's own list names other sources, too."""
    return path.name != "sources.list"


def _spellings(repository: str) -> str:
    """Return a pattern of a repository's address for any kind and processor, or apt's variables for these."""
    address = re.escape(repository.partition("://")[2].rstrip("/"))
    return address.replace(re.escape("{kind}"), "(deb|rpm)").replace(re.escape("{arch}"), r"[^/\s]+")
