# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.systemd import UnitState
from ansible.module_utils.provision.python import conda_install, conda_place

from provisioner.ansible.modules import conda_python
from tests.host.python.conftest import Orders
from tests.unit.fakes import Systemd

GONE = UnitState()
BUSY = UnitState(active="active", invocation="1")
FAILED = UnitState(active="failed", result="exit-code", exit_status=1, invocation="1")


class Host:
    """A host whose unit runs the job at once, or does what a test says."""

    def __init__(self, root: Path, orders: Orders, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.orders, self.systemd = root, orders, systemd
        systemd.after, systemd.work = GONE, self.work
        self.works = True
        monkeypatch.setattr(conda_python, "unused", self.unused)

    def work(self) -> None:
        if self.works:
            try:
                conda_install.job(json.loads(Path(self.systemd.started[-1].argv[-1]).read_text()))
            except Fault:
                self.systemd.after = FAILED

    def unused(self, root: Path, registry: Path, needed: set[str]) -> list[Path]:
        return list(conda_place.unused(root, registry, needed, self.root / "units"))

    def call(self, check: bool = False, **params: Any) -> dict[str, Any]:
        given = {key: option.get("default") for key, option in conda_python.ARGUMENTS.items()}
        orders = {**self.orders(), **params}
        folders = {key: str(self.root / key) for key in ("runtime", "programs", "environments", "registry")}
        asked = {**given, **orders, **folders, "environment_file": str(self.root / "conda.env"), "poll": 0}
        wanted = {key: orders[key] for key in conda_python.WANTED}
        asked = {key: {**asked, "wanted": wanted}[key] for key in given}
        result: dict[str, Any] = conda_python.outcome(SimpleNamespace(params=asked, check_mode=check))
        return result


@pytest.fixture
def host(tmp_path: Path, orders: Orders, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, orders, systemd, monkeypatch)


def test_brings_it_about_once(host: Host) -> None:
    first = host.call()
    assert (first["changed"], first["finished"], first["present"]) == (True, True, True)
    assert Path(first["interpreter"]).exists()
    assert first["diff"]["before"] == f"{first['prefix']}: it does not exist\n"
    second = host.call()
    assert (second["changed"], second["interpreter"]) == (False, first["interpreter"])
    assert "diff" not in second
    assert len(host.systemd.started) == 1


def test_the_unit_gets_what_it_needs_and_no_address(host: Host) -> None:
    host.call()
    (unit, argv, properties) = host.systemd.started[0]
    assert unit == "provision-job-conda"
    assert argv[2] == "install"
    assert properties["EnvironmentFile"] == str(host.root / "conda.env")
    assert properties["RuntimeMaxSec"] == "7200"
    assert "file://" not in Path(argv[3]).read_text()


def test_a_chosen_prefix_may_be_written_and_is_remembered(host: Host) -> None:
    host.call(prefix=str(host.root / "chosen/conda"))
    writable = host.systemd.started[0].properties["ReadWritePaths"]
    assert str(host.root / "chosen") in writable
    assert str(host.root / "conda") in writable
    assert json.loads((host.root / "registry").read_text()) == [str(host.root / "chosen/conda")]


def test_looking_needs_no_systemd_and_changes_nothing(host: Host) -> None:
    found = host.call(state="inspected")
    assert host.systemd.programs.calls == []
    assert (found["changed"], found["present"]) == (False, False)
    assert not Path(found["prefix"]).exists()


def test_check_mode_names_what_would_come_and_does_nothing(host: Host) -> None:
    found = host.call(check=True)
    assert (found["changed"], found["present"]) == (True, False)
    assert found["diff"]["after"] == f"{found['interpreter']}: miniforge 26.1.1-3\n"
    assert host.systemd.started == []
    assert not (host.root / "conda").exists()


def test_polls_with_progress_and_waits_for_another(host: Host) -> None:
    host.works, host.systemd.after = False, BUSY
    mine = host.call()
    assert (mine["changed"], mine["finished"]) == (True, False)  # the next call may find it all done
    host.systemd.state = BUSY
    other = host.call(python="3.13.5")
    assert (other["changed"], other["provision"]["progress"]["label"]) == (False, "provision-job-conda")
    assert len(host.systemd.started) == 1


def test_a_failure_is_told_in_the_jobs_own_words(host: Host) -> None:
    with pytest.raises(Fault, match=r"could not install Python 3\.99\.0") as caught:
        host.call(python="3.99.0")
    assert "python_env_conda_python" in caught.value.next_step
    host.systemd.after = GONE
    assert host.call()["changed"] is True


def test_a_foreign_prefix_is_refused_before_anything_is_started(host: Host) -> None:
    (host.root / "theirs").mkdir()
    (host.root / "theirs/file").touch()
    with pytest.raises(Fault, match="was not created by provision"):
        host.call(prefix=str(host.root / "theirs"), state="inspected")
    assert host.systemd.started == []
    assert not (host.root / "registry").exists()


def test_prunes_what_nothing_uses_but_not_under_a_running_job(host: Host) -> None:
    old = host.call(version="25.3.1-0")["prefix"]
    new = host.call()
    keep = [new["interpreter"]]
    host.systemd.state = BUSY
    assert host.call(state="absent", keep=keep)["removed"] == []
    host.systemd.state = GONE
    assert host.call(state="absent", keep=keep, check=True)["removed"] == [old]
    assert Path(old).exists()
    done = host.call(state="absent", keep=keep)
    assert (done["changed"], done["diff"]["before"]) == (True, f"{old}\n")
    assert not Path(old).exists()
    assert host.call(state="absent", keep=keep)["changed"] is False


def test_the_program_carries_all_it_imports(host: Host, tmp_path: Path) -> None:
    program = conda_install.install(tmp_path / "programs")
    # As on a host: without Ansible's own package in sight, and with a prefix that conda could take.
    with tempfile.TemporaryDirectory(prefix="c") as short:
        spec = tmp_path / "spec.json"
        spec.write_text(json.dumps(host.orders(root=short)))
        argv = [sys.executable, "-I", str(program), "install", str(spec)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert [path.name.partition("-")[0] for path in Path(short).iterdir()] == ["miniforge"]
    assert "installation finished." in done.stderr
