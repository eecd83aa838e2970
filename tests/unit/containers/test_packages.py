# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.containers import packages as container_packages
from ansible.module_utils.provision.containers.packages import TOOLKIT
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.packages import Apt, Dnf, Manager, dnf, record
from ansible.module_utils.provision.jobs import packages as jobs_packages
from ansible.module_utils.provision.jobs.unit import UnitState

from tests.unit.fakes import Answers

DONE = UnitState()
RUNNING = UnitState(active="active", invocation="one")
FAILED = UnitState(active="failed", result="exit-code", exit_status=100, invocation="one")
Started = list[tuple[str, list[str]]]


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> Answers:
    return Answers(monkeypatch)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Started:
    """Return what is started as a unit, which has ended at once."""
    found: Started = []

    def start(name: str, argv: list[str], **_more: Any) -> bool:
        found.append((name, argv))
        return True

    monkeypatch.setattr(record, "STATE", tmp_path / "state")
    monkeypatch.setattr(jobs_packages, "start_or_attach", start)
    monkeypatch.setattr(container_packages, "wait", lambda *_words: DONE)
    return found


LIST = """\
# Added lock on Tue Nov 24 2026
nvidia-driver-cuda-3:580.159.04-1.el9.*
*nvidia*580*
nvidia-container-toolkit-0:1.19.1-1.*
nvidia-container-toolkit-base-1.19.1-1.*
libnvidia-container-devel-0:1.0-1.*
!libnvidia-container1-0:1.18.0-1.*
"""


def test_finds_the_locks_of_the_toolkit_and_no_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "versionlock.list"
    path.write_text(LIST)
    monkeypatch.setattr(dnf, "VERSIONLOCK", path)
    there = container_packages.locked(Dnf())
    assert there == [
        "nvidia-container-toolkit-0:1.19.1-1.*",
        "nvidia-container-toolkit-base-1.19.1-1.*",
        "!libnvidia-container1-0:1.18.0-1.*",
    ]
    words = [f"{name}-0:1.20.1-1.*" for name in TOOLKIT]
    Dnf().hold(words, there)
    text = (
        "# Added lock on Tue Nov 24 2026\n"
        "nvidia-driver-cuda-3:580.159.04-1.el9.*\n"
        "*nvidia*580*\n"
        "libnvidia-container-devel-0:1.0-1.*\n"
        "nvidia-container-toolkit-0:1.20.1-1.*\n"
        "nvidia-container-toolkit-base-0:1.20.1-1.*\n"
        "libnvidia-container-tools-0:1.20.1-1.*\n"
        "libnvidia-container1-0:1.20.1-1.*\n"
    )
    assert path.read_text() == text
    assert container_packages.locked(Dnf()) == words
    Dnf().hold(words, words)
    assert path.read_text() == text


def test_versions_are_without_an_epoch(programs: Answers) -> None:
    programs.answer("dpkg-query", "ii |docker-ce|5:28.0.1-1~debian.13\n")
    assert container_packages.versions(Apt(), "docker-ce") == {"docker-ce": "28.0.1-1~debian.13"}
    assert container_packages.serving(Apt(), ("docker.io",)) == ("docker-ce",)
    programs.answer("dpkg-query")
    assert container_packages.serving(Apt(), ("docker.io",)) == ("docker.io",)


@pytest.mark.parametrize(
    ("packages", "exact", "part"),
    [
        (Apt(), "libnvidia-container1=1.20.1-1", "--allow-downgrades --allow-change-held-packages"),
        (Dnf(), "libnvidia-container1-1.20.1-1", "dnf -y --refresh --setopt=install_weak_deps=False install"),
    ],
)
def test_changes_all_packages_to_a_version_in_one_transaction(
    started: Started, monkeypatch: pytest.MonkeyPatch, packages: Manager, exact: str, part: str
) -> None:
    states: Iterator[UnitState] = iter([RUNNING, DONE])
    monkeypatch.setattr(container_packages, "wait", lambda _name, _seconds: next(states))
    names = ["nvidia-container-toolkit", "libnvidia-container1"]
    assert container_packages.change(packages, "1.20.1-1", names, 0) is False
    assert container_packages.change(packages, "1.20.1-1", names, 0) is True
    name, argv = started[0]
    assert name == "provision-job-packages"
    assert part in argv[2]
    assert argv[-1] == exact
    assert json.loads(argv[5]) == list(TOOLKIT)


def test_adds_modules_beside_the_locked_kernel(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_packages, "manager", Dnf)
    assert container_packages.add_modules(["kernel-modules-extra-6.12.0-1.el10.x86_64"], ("docker-ce",), 0)
    [(name, argv)] = started
    assert name == "provision-job-packages"
    assert "--disableplugin=versionlock" in argv[2]
    assert argv[-1] == "kernel-modules-extra-6.12.0-1.el10.x86_64"
    assert json.loads(argv[5]) == ["docker-ce"]


def test_a_failed_transaction_says_what_it_said(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    del started
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(container_packages, "wait", lambda *_argv: FAILED)
    monkeypatch.setattr(container_packages, "journal_tail", lambda *_argv: "E: Version '9' was not found")
    packages = container_packages.toolkit_manager()
    with pytest.raises(Fault, match="Version '9' was not found") as caught:
        container_packages.change(packages, "9", ["libnvidia-container1"], 0)
    assert "container_runtime_toolkit_version" in caught.value.next_step


def test_knows_what_recorded_transactions_have_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(record, "LEDGER", tmp_path / "packages.json")
    assert record.installed_for([]) == set()
    record.note(["podman"], ["podman", "crun"])
    record.note(["jq"], [])
    assert record.installed_for([]) == record.installed_for(["podman", "jq"]) == {"podman", "crun"}
    assert record.installed_for(["jq"]) == set()
