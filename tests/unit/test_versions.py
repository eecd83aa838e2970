# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from provisioner import versions


@pytest.mark.parametrize(
    ("version", "least", "older"),
    [
        ("570.124.06", "580", True),
        ("580", "580.0.0", False),
        ("580.95.05", "580.95.5", False),
        ("b10435", "b10436", True),
        ("9.0", "12.0", True),
        ("12.8", "12.10", True),
        ("", "580", False),
        (None, "580", False),
        ("580", "", False),
        ("unknown", "580", False),
    ],
)
def test_numbers_decide_what_is_older(version: object, least: str, older: bool) -> None:
    assert versions.is_older(version, least) is older


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [
        ("580.95.05", "580", True),
        ("580.95.05", "580.95", True),
        ("580.95.05", "580.95.05", True),
        ("580.159.04", "580.95.05", False),
        ("580.95.05", "58", False),
        ("580", "580.95.05", False),
        ("unknown", "580", False),
    ],
)
def test_a_version_is_of_its_branch(version: str, wanted: str, fits: bool) -> None:
    assert versions.is_of(version, wanted) is fits
