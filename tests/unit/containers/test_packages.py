# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from ansible.module_utils.provision.containers import packages as container_packages
from ansible.module_utils.provision.containers.packages import TOOLKIT
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.packages import Apt, Dnf
from ansible.module_utils.provision.jobs.unit import UnitState

DONE = UnitState("inactive", "success", 0, "")
RUNNING = UnitState("active", "success", 0, "one")
FAILED = UnitState("failed", "exit-code", 100, "one")


def test_reads_versions_of_both_package_managers() -> None:
    listed = "ii |docker.io|26.1.5+dfsg1-9\nii |docker-ce|5:28.0.1-1~debian.13\nrc |podman|5.4.2\n"
    listed += "package libnvidia-container1 is not installed\nhi |nvidia-container-toolkit|1.20.1-1\n"
    assert container_packages.parse_versions(listed) == {
        "docker.io": "26.1.5+dfsg1-9",
        "docker-ce": "28.0.1-1~debian.13",
        "nvidia-container-toolkit": "1.20.1-1",
    }


def test_asks_apt_what_it_would_install(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "podman:\n  Installed: (none)\n  Candidate: 3.4.4+ds1-1ubuntu1\n"
    monkeypatch.setattr(container_packages, "is_apt", lambda: True)
    monkeypatch.setattr(container_packages, "call", lambda *_argv, **_more: CompletedProcess([], 0, said, ""))
    assert container_packages.candidate("podman") == "3.4.4+ds1-1ubuntu1"
    said = "podman:\n  Installed: (none)\n  Candidate: (none)\n"
    assert container_packages.candidate("podman") == ""


LIST = """\
# Added lock on Tue Nov 24 2026
nvidia-driver-cuda-3:580.159.04-1.el9.*
*nvidia*580*
nvidia-container-toolkit-0:1.19.1-1.*
nvidia-container-toolkit-base-1.19.1-1.*
libnvidia-container-devel-0:1.0-1.*
!libnvidia-container1-0:1.18.0-1.*
"""


def test_finds_the_locks_of_the_toolkit_and_no_others() -> None:
    assert container_packages.toolkit_locks(LIST) == [
        "nvidia-container-toolkit-0:1.19.1-1.*",
        "nvidia-container-toolkit-base-1.19.1-1.*",
        "!libnvidia-container1-0:1.18.0-1.*",
    ]


def test_replaces_the_locks_of_the_toolkit_and_no_others() -> None:
    lines = container_packages.lock_lines("1.20.1-1")
    text = container_packages.with_locks(LIST, lines)
    assert text == (
        "# Added lock on Tue Nov 24 2026\n"
        "nvidia-driver-cuda-3:580.159.04-1.el9.*\n"
        "*nvidia*580*\n"
        "libnvidia-container-devel-0:1.0-1.*\n"
        "nvidia-container-toolkit-0:1.20.1-1.*\n"
        "nvidia-container-toolkit-base-0:1.20.1-1.*\n"
        "libnvidia-container-tools-0:1.20.1-1.*\n"
        "libnvidia-container1-0:1.20.1-1.*\n"
    )
    assert container_packages.toolkit_locks(text) == lines
    assert container_packages.with_locks(text, lines) == text


@pytest.mark.parametrize(
    ("packages", "exact", "part"),
    [
        (Apt(), "libnvidia-container1=1.20.1-1", "--allow-downgrades --allow-change-held-packages"),
        (Dnf(), "libnvidia-container1-1.20.1-1", "dnf -y install --refresh"),
    ],
)
def test_brings_all_packages_to_a_version_in_one_transaction(
    packages: Apt | Dnf, exact: str, part: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[Any] = []
    states = [RUNNING, DONE]
    monkeypatch.setattr(container_packages, "manager", lambda: packages)
    monkeypatch.setattr(container_packages, "RECORD", tmp_path / "state/record")
    monkeypatch.setattr(
        container_packages, "start_or_attach", lambda name, argv, **_more: started.append((name, argv))
    )
    monkeypatch.setattr(container_packages, "wait", lambda _name, _seconds: states.pop(0))
    names = ["nvidia-container-toolkit", "libnvidia-container1"]
    assert container_packages.change("1.20.1-1", names, 0) is False
    assert container_packages.change("1.20.1-1", names, 0) is True
    name, argv = started[0]
    assert name == "provision-job-packages"
    assert part in argv[2]
    assert argv[-1] == exact
    assert json.loads(argv[5]) == list(TOOLKIT)


def test_adds_modules_beside_the_locked_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[Any] = []
    monkeypatch.setattr(container_packages, "manager", Dnf)
    monkeypatch.setattr(container_packages, "RECORD", tmp_path / "state/record")
    monkeypatch.setattr(
        container_packages, "start_or_attach", lambda name, argv, **_more: started.append((name, argv))
    )
    monkeypatch.setattr(container_packages, "wait", lambda *_words: DONE)
    assert container_packages.add_modules(["kernel-modules-extra-6.12.0-1.el10.x86_64"], ("docker-ce",), 0)
    [(name, argv)] = started
    assert name == "provision-job-packages"
    assert '--disableplugin=versionlock -- "$@"' in argv[2]
    assert argv[-1] == "kernel-modules-extra-6.12.0-1.el10.x86_64"
    assert json.loads(argv[5]) == ["docker-ce"]


@pytest.mark.parametrize("interrupted", [True, False])
def test_an_interrupted_dpkg_is_finished_first(monkeypatch: pytest.MonkeyPatch, interrupted: bool) -> None:
    monkeypatch.setattr(Apt, "interrupted", lambda _self: interrupted)
    first, _, rest = container_packages.script(Apt()).partition("; ")
    assert first.endswith("--configure -a") is interrupted
    assert "apt-get install" in rest


def test_a_transaction_that_fails_says_what_it_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(container_packages, "manager", Apt)
    monkeypatch.setattr(container_packages, "RECORD", tmp_path / "record")
    monkeypatch.setattr(container_packages, "start_or_attach", lambda *_argv, **_more: True)
    monkeypatch.setattr(container_packages, "wait", lambda *_argv: FAILED)
    monkeypatch.setattr(container_packages, "journal_tail", lambda *_argv: "E: Version '9' was not found")
    with pytest.raises(Fault, match="Version '9' was not found") as caught:
        container_packages.change("9", ["libnvidia-container1"], 0)
    assert "container_runtime_toolkit_version" in caught.value.next_step


def test_knows_what_transactions_of_ours_have_brought(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(container_packages, "BROUGHT", tmp_path / "packages.json")
    assert container_packages.brought() == set()
    (tmp_path / "packages.json").write_text('[{"asked": ["podman"], "installed": ["podman", "crun"]}]')
    assert container_packages.brought() == {"podman", "crun"}
