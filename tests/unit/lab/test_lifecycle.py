# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import fcntl
import time
from pathlib import Path

import pytest

from provisioner.errors import BusyError
from provisioner.lab import controller, lifecycle, namespace, turns
from provisioner.lab.podman import Podman
from provisioner.lab.process import Result


class Nothing(Podman):
    """Know no container, network or image."""

    def run(self, *words: str, **_: object) -> Result:
        return Result(words, 1 if "exists" in words else 0, b"", b"")


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(controller, "runtime_dir", lambda: tmp_path)
    monkeypatch.setattr(lifecycle, "connect", lambda **_: Nothing())
    monkeypatch.setattr(namespace, "stop_holder", lambda: False)
    return tmp_path / "hosts.lock"


def test_a_command_waits_until_another_has_ended(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        monkeypatch.setattr(time, "sleep", lambda _: fcntl.flock(other, fcntl.LOCK_UN))
        lifecycle.down("mine", say=said.append)
    assert said == ["waiting for another lab command to end, 10 minutes at most"]


def test_a_command_does_not_wait_for_ever(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "HOSTS_SECONDS", -1)
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="another lab command has been running"):
            lifecycle.down("mine", say=print)


def test_a_command_that_is_alone_says_nothing_of_it(lock: Path) -> None:
    said: list[str] = []
    lifecycle.down("mine", say=said.append)
    assert said == []
    assert lock.exists()
