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
    # A repository for any kind and processor, or with apt's variables for these.
    address = re.escape(repository.partition("://")[2].rstrip("/"))
    any_kind = address.replace(re.escape("{kind}"), "(deb|rpm)").replace(re.escape("{arch}"), r"[^/\s]+")
    named = re.compile("|".join([*map(re.escape, PUBLISHED), any_kind]))
    return [path for path in defining(named, root) if path.stem != f"provision-{NAME}"]


def may_move(path: Path) -> bool:
    """Return whether a file can go as a whole: the distribution's own list names other sources, too."""
    return path.name != "sources.list"
