# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from provisioner.errors import BusyError
from provisioner.lab import turns


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("provisioner.lab.controller.runtime_dir", lambda: tmp_path / "run")
    return tmp_path


@pytest.fixture
def joined() -> Iterator[IO[str]]:
    with turns.joined("caches") as other:
        yield other


@pytest.mark.usefixtures("joined")
def test_many_may_hold_a_lock_together_and_nobody_alone_meanwhile() -> None:
    with turns.together("caches", print):
        assert not turns.is_free("caches")
    with (
        pytest.raises(BusyError, match="another lab command has been running"),
        turns.alone("caches", print, seconds=-1),
    ):
        pytest.fail("it was taken")


def test_a_lock_is_free_when_its_last_holder_has_gone(joined: IO[str]) -> None:
    joined.close()
    assert turns.is_free("caches")
    with turns.alone("caches"):
        assert not turns.is_free("caches")
    assert turns.is_free("caches")


@pytest.mark.usefixtures("joined")
def test_locks_of_other_names_are_others() -> None:
    with turns.alone("hosts"):
        assert not turns.is_free("hosts")
