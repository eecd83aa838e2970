# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from provisioner.errors import LabError
from provisioner.lab import namespace, turns
from provisioner.lab.podman import Podman, connect


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("provisioner.lab.controller.runtime_dir", lambda: tmp_path)
    return tmp_path


def _started(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def test_a_unified_cgroup_needs_no_namespace(tmp_path: Path) -> None:
    assert namespace.needed(tmp_path)
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    assert not namespace.needed(tmp_path)


def test_a_holder_is_known_by_its_start_time(runtime: Path) -> None:
    assert namespace.holder() is None
    record = runtime / "holder"
    record.write_text(f"{os.getpid()} {_started(os.getpid())} mnt:[1]\n")
    assert namespace.holder() == os.getpid()
    record.write_text(f"{os.getpid()} 1 mnt:[1]\n")
    assert namespace.holder() is None, "the process id is in use again by another process"


def test_stopping_ends_the_holder_and_forgets_it(runtime: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        (runtime / "holder").write_text(f"{sleeper.pid} {_started(sleeper.pid)} mnt:[1]\n")
        assert namespace.stop_holder()
    assert sleeper.returncode == -15
    assert not (runtime / "holder").exists()
    assert not namespace.stop_holder()


def test_a_holder_stays_while_another_command_works_in_its_namespace(runtime: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper, turns.joined(namespace.USERS) as other:
        (runtime / "holder").write_text(f"{sleeper.pid} {_started(sleeper.pid)} mnt:[1]\n")
        assert not namespace.start_holder()
        assert not namespace.stop_holder()
        assert namespace.holder() == sleeper.pid
        other.close()
        assert not namespace.start_holder()
        assert namespace.stop_holder(), "a command's own use is no reason to keep it"


def test_podman_enters_the_namespace_of_the_holder(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace, "needed", lambda: True)
    (runtime / "holder").write_text(f"{os.getpid()} {_started(os.getpid())} mnt:[1]\n")
    argv = connect().argv("ps")
    assert argv[:4] == ["nsenter", f"--target={os.getpid()}", "--mount", "--"]
    assert argv[-1] == "ps"
    assert "--runtime=runc" in argv


def test_podman_is_called_plainly_elsewhere() -> None:
    assert Podman().argv("ps", "--all") == ["podman", "ps", "--all"]


@pytest.mark.usefixtures("runtime")
def test_a_user_cannot_make_the_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LabError, match="only root can supply it"):
        namespace.start_holder()


def test_a_namespace_that_cannot_be_made_says_why(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(
        "provisioner.lab.process.start_detached", lambda _argv, log: log.write(b"not permitted\n") and 2**22
    )
    with pytest.raises(LabError, match="could not be mounted: not permitted"):
        namespace.start_holder()
    assert not (runtime / "holder").exists()
