# SPDX-License-Identifier: Apache-2.0
"""Compare versions of drivers, CUDA and engines; `packaging.version` does it, here and nowhere else."""

from __future__ import annotations

import re

from packaging.version import InvalidVersion, Version

__all__ = ["InvalidVersion", "Version", "is_of", "is_older", "parse"]


def parse(text: object) -> Version:
    """Return a version, also of a tag such as b11146, without its letters; raises InvalidVersion."""
    return Version(re.sub(r"^[A-Za-z]+(?=[0-9])", "", str(text)))


def is_older(version: object, least: str) -> bool:
    """Return whether a version is older than `least`; what is empty or not a version is not older."""
    try:
        return parse(version) < parse(least)
    except InvalidVersion:
        return False


def is_of(version: str, wanted: str) -> bool:
    """Return whether a version is of a branch or equal to the wanted one: 580.95.05 is of 580."""
    try:
        branch = parse(wanted).release
        return parse(version).release[: len(branch)] == branch
    except InvalidVersion:
        return False
