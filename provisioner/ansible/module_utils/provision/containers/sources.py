# SPDX-License-Identifier: Apache-2.0
"""Find package sources of NVIDIA's container toolkit that somebody else has added, however spelt."""

from __future__ import annotations

import re
from pathlib import Path

from ..host.sources import defining

NAME = "container-toolkit"
# Where NVIDIA has published it: under these names apt saw one repository with two keys.
PUBLISHED = (
    "nvidia.github.io/libnvidia-container",
    "nvidia.github.io/nvidia-container-runtime",
    "nvidia.github.io/nvidia-docker",
)
ROOT = Path("/")


def stale(repository: str, root: Path = ROOT) -> list[Path]:
    """Return source files that name a repository of the toolkit and are not ours."""
    named = re.compile("|".join([*map(re.escape, PUBLISHED), _spellings(repository)]))
    return [path for path in defining(named, root) if path.stem != f"provision-{NAME}"]


def may_move(path: Path) -> bool:
    """Return whether a file can go as a whole: the distribution's own list names other sources, too."""
    return path.name != "sources.list"


def _spellings(repository: str) -> str:
    """Return a pattern of a repository's address for any kind and processor, or apt's variables for these."""
    address = re.escape(repository.partition("://")[2].rstrip("/"))
    return address.replace(re.escape("{kind}"), "(deb|rpm)").replace(re.escape("{arch}"), r"[^/\s]+")
