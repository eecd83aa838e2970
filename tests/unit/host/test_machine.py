# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.provision.host import machine


def answer(monkeypatch: pytest.MonkeyPatch, said: str) -> list[list[str]]:
    """Let every program of the host print the same, and return what was run."""
    ran: list[list[str]] = []

    def run(argv: list[str], *_: float) -> str:
        ran.append(argv)
        return said

    monkeypatch.setattr(machine, "run", run)
    return ran


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("1B-blocks Avail Mounted on\n 1000 400 /srv/a b", ("/srv/a b", 1000, 400)),
        ("1B-blocks Avail Mounted on\n - - /proc", None),
        ("", None),
    ],
)
def test_a_file_system_has_a_size_or_is_none(
    monkeypatch: pytest.MonkeyPatch, said: str, expected: tuple[str, int, int] | None
) -> None:
    answer(monkeypatch, said)
    found = machine.file_system("/srv/a b/x")
    assert (found and tuple(found.values())) == expected


def test_the_file_system_of_this_test_is_measured(tmp_path: Path) -> None:
    found = machine.file_system(str(tmp_path))
    assert found is not None
    assert 0 < found["free_bytes"] <= found["size_bytes"]


def test_the_first_active_time_service_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(answer(monkeypatch, "active")) == 0
    assert machine.time_service() == "chronyd.service"
    ran = answer(monkeypatch, "inactive")
    assert machine.time_service() == "none"
    assert len(ran) == len(machine.TIME_SERVICES)


@pytest.mark.parametrize(("said", "expected"), [("none", False), ("", False), ("podman", True)])
def test_knows_a_container(monkeypatch: pytest.MonkeyPatch, said: str, expected: bool) -> None:
    answer(monkeypatch, said)
    assert machine.is_container() is expected


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [("CapBnd:\t000001ffffffffff", True), ("CapBnd:\t00000000a80425fb", False), ("", False)],
)
def test_only_a_host_with_the_capability_sets_its_clock(
    monkeypatch: pytest.MonkeyPatch, bounds: str, expected: bool
) -> None:
    monkeypatch.setattr(machine, "read", lambda _: f"Name:\tx\n{bounds}\n")
    assert machine.can_set_clock() is expected


def test_the_start_of_the_first_process_is_known() -> None:
    fields = Path("/proc/1/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    assert machine.init_started() == int(fields[19])
