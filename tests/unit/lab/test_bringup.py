# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import LabError
from provisioner.lab import builder, controller, model, releases
from provisioner.lab.bringup import Bringup
from provisioner.lab.podman import Podman
from provisioner.lab.process import Result
from provisioner.lab.releases import Outcome, Release
from provisioner.lab.report import Stopwatch
from provisioner.lab.spec import HostSpec, LabSpec

RELEASE = Release("ollama", "0.33.0")
SPEC = LabSpec("mine", (HostSpec("one", 2301, releases=(RELEASE,)),), 2999)
LONGEST_SECONDS = 30


class Building(Podman):
    """Have every image, and one build that goes on until its container is removed."""

    ended = threading.Event()

    def run(self, *words: str, **_: Any) -> Result:
        return Result(words, 0, b"", b"")

    def remove(self, names: Sequence[str]) -> None:
        if builder.CONTAINER in names:
            self.ended.set()


def test_the_first_failure_ends_a_build_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    podman = Building()
    in_time: list[bool] = []

    def build(_: Podman, release: Release) -> Outcome:
        in_time.append(podman.ended.wait(LONGEST_SECONDS))
        return Outcome(release, unavailable="ended")

    def no_index() -> Path:
        raise LabError("no package index")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(controller, "runtime_dir", lambda: tmp_path / "run")
    monkeypatch.setattr(releases, "ensure", build)
    monkeypatch.setattr(model, "ensure", no_index)
    with ExitStack() as undo, pytest.raises(LabError, match="no package index"):
        Bringup(podman, SPEC, Stopwatch(lambda _: None), undo).ingredients()
    assert in_time == [True]
