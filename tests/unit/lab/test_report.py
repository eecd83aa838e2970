# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from provisioner.lab import lifecycle, report
from provisioner.lab.podman import Machine, Podman

MACHINE = Machine("provision-lab-mine.one", "mine", "one", 2301, "10.89.0.3", "rocky9:1", "1", "exited")


def test_an_image_says_what_is_behind_its_name() -> None:
    assert report.described("rocky9:1", "dressed Debian") == "rocky9:1 (dressed Debian)"
    assert report.described("debian13:1", "") == "debian13:1"


def test_status_names_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Machine(**{**vars(MACHINE), "origin": "dressed Debian, a stand-in for Rocky 9"})
    monkeypatch.setattr(Podman, "machines", lambda *_: [found])
    monkeypatch.setattr(lifecycle, "connect", Podman)
    [host] = lifecycle.status("mine").hosts
    assert host.image == "rocky9:1 (dressed Debian, a stand-in for Rocky 9)"
