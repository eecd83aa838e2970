# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from tests.unit.fleet import made_up

pytestmark = pytest.mark.usefixtures("made_up_engine")
TOO_OLD = (
    "engine_abacus_version: is below b100, the oldest safe version: older ones lose beads; "
    "set it to b100 or newer"
)


@pytest.mark.parametrize("version", ["b100", "b1000", "v101", "101.2"])
def test_a_tag_is_read_by_its_number(version: str) -> None:
    assert made_up.reasons(engine_abacus_version=version) == []


@pytest.mark.parametrize("version", ["b99", "b9.9", "99"])
def test_a_tag_below_the_floor_is_refused(version: str) -> None:
    assert made_up.reasons(engine_abacus_version=version) == [TOO_OLD]


def test_what_has_no_number_is_no_version() -> None:
    reason = "engine_abacus_version: must be a version such as b100"
    assert made_up.reasons(engine_abacus_version="latest") == [reason]
