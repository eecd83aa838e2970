# SPDX-License-Identifier: Apache-2.0
"""The toolkits of a host: brought, moved, held and taken away, and nobody else's touched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.cuda import install, state
from ansible.module_utils.provision.cuda import place as cuda_place
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.jobs import job

from provisioner.ansible.modules import cuda_toolkit
from tests.unit.cuda.conftest import BUSY, Host


def installed(host: Host, like: str = "cuda-toolkit-1") -> list[str]:
    return sorted(name for name in host.known["installed"] if name.startswith(like) and "common" not in name)


def test_brings_two_side_by_side_and_only_once(host: Host) -> None:
    first = host.call("13.0", "12.9", default="12.9")
    assert (first["changed"], first["finished"]) == (True, True)
    assert first["todo"] == [
        "install CUDA toolkit 13.0 (packages): not installed",
        "install CUDA toolkit 12.9 (packages): not installed",
        f"point {host.local}/cuda to {host.local}/cuda-12.9",
        f"write {host.root}/etc/profile",
    ]
    assert installed(host) == ["cuda-toolkit-12-9", "cuda-toolkit-13-0"]
    assert (host.local / "cuda").resolve() == host.local / "cuda-12.9"
    before = host.known["log"]
    second = host.call("13.0", "12.9", default="12.9")
    assert (second["changed"], second["todo"]) == (False, [])
    assert [words for words in host.known["log"][len(before) :] if words[0] != "dpkg-query"] == []
    assert len(host.started) == 1


def test_looking_needs_no_systemd_and_changes_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "state", lambda _: pytest.fail("a look needs no systemd"))
    found = host.call("13.0", state="inspected")
    assert (found["changed"], found["needs_repository"], found["needs_runfile"]) == (False, True, False)
    assert not host.local.joinpath("cuda").exists()
    assert installed(host) == []


def test_where_nothing_is_asked_nothing_is_looked_at(host: Host) -> None:
    host.local.joinpath("cuda").mkdir()
    assert host.call(state="inspected")["todo"] == []
    assert host.known["log"] == []


def test_check_mode_tells_and_does_nothing(host: Host) -> None:
    found = host.call("13.0", check=True)
    assert (found["changed"], host.started, installed(host)) == (True, [], [])
    assert "install CUDA toolkit 13.0 (packages): not installed\n" in found["diff"]["after"]
    assert not (host.root / "lib").exists()


def test_check_mode_before_the_repository_is_known_is_no_failure(host: Host) -> None:
    host.change(repository={})
    assert host.call("13.0", check=True)["changed"] is True


def test_those_who_log_in_have_it_on_their_path_once(host: Host) -> None:
    host.call("13.0")
    script = f". {host.root}/etc/profile; . {host.root}/etc/profile; echo $CUDA_HOME $PATH"
    argv = ["sh", "-c", script]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, env={"PATH": "/bin"})
    assert said.stdout.split() == [f"{host.local}/cuda", f"{host.local}/cuda/bin:/bin"]


@pytest.mark.parametrize("check", [True, False])
def test_a_transaction_that_brings_a_driver_is_refused_with_its_name(host: Host, check: bool) -> None:
    repository = host.known["repository"]
    repository["cuda-nvcc-13-0"]["depends"].append("nvidia-driver")
    host.change(repository=repository)
    with pytest.raises(Fault, match="would change nvidia-driver, but a toolkit must not change a driver"):
        host.call("13.0", check=check)
    assert host.known["installed"] == {}
    assert host.ledger == {}


def test_a_version_that_left_goes_with_what_only_it_needs(host: Host) -> None:
    host.call("12.9", "13.0")
    done = host.call("13.0")
    assert done["todo"][0] == f"remove CUDA toolkit 12.9 from {host.local}/cuda-12.9"
    assert installed(host) == ["cuda-toolkit-13-0"]
    # The first transaction brought what both need.
    assert "cuda-toolkit-config-common" in host.known["installed"]
    assert "cuda-toolkit-config-common" in host.ledger["13.0"]["packages"]
    assert not (host.local / "cuda-12.9").exists()
    assert host.call("13.0")["changed"] is False


def test_removing_leaves_a_host_as_it_was(host: Host) -> None:
    host.call("13.0", "12.9")
    gone = host.call(state="absent")
    assert (gone["changed"], gone["finished"]) == (True, True)
    assert host.known["installed"] == {}
    assert (host.ledger, list(host.local.iterdir())) == ({}, [])
    assert not (host.root / "etc/profile").exists()
    assert list((host.root / "programs").iterdir()) == []
    assert host.call(state="absent")["changed"] is False


def test_what_somebody_else_installed_is_used_and_stays(host: Host) -> None:
    host.change(installed={"cuda-toolkit-13-0": "13.0.2-1"})
    place = host.local / "cuda-13.0/bin"
    place.mkdir(parents=True)
    assert host.call("13.0")["todo"][0].startswith("point ")
    assert host.started == []
    host.call(state="absent")
    assert installed(host) == ["cuda-toolkit-13-0"]


def test_a_version_stays_while_a_strangers_package_needs_it(host: Host) -> None:
    host.call("13.0", "12.9")
    host.change(installed={**host.known["installed"], "theirs": "1"})
    found = host.call("12.9")
    assert (found["changed"], found["todo"]) == (
        True,
        [f"point {host.local}/cuda to {host.local}/cuda-12.9"],
    )
    assert host.warnings == ["CUDA toolkit 13.0 not removed: theirs, installed later, need it"]
    assert host.call("12.9")["changed"] is False
    assert "cuda-toolkit-13-0" in host.known["installed"]


def test_a_version_stays_while_a_unit_names_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.call("13.0", "12.9")
    monkeypatch.setattr(state, "in_use", lambda place: place.name == "cuda-12.9")
    assert host.call("13.0")["changed"] is False
    assert host.warnings == [f"{host.local}/cuda-12.9 not removed: a unit or a process uses it"]
    with pytest.raises(Fault, match="must make room for CUDA toolkit 12"):
        host.call("12.9", source="runfile", runfiles={"cuda_12.9.1_575.57.08_linux.run": "ab" * 32})


def test_an_exact_version_is_held_and_the_hold_moves_along(host: Host) -> None:
    host.call("13.0.1")
    assert host.known["installed"]["cuda-toolkit-13-0"] == "13.0.1-1"
    own = ["cuda-nvcc-13-0", "cuda-toolkit-13-0"]
    assert sorted(host.known["held"]) == own
    assert host.call("13.0.1")["changed"] is False
    moved = host.call("13.0.2")
    assert moved["todo"] == ["install CUDA toolkit 13.0.2 (packages): 13.0.1-1 is installed"]
    assert host.known["installed"]["cuda-toolkit-13-0"] == "13.0.2-1"
    assert sorted(host.known["held"]) == own
    host.change(held=[])
    assert host.call("13.0.2")["todo"] == ["install CUDA toolkit 13.0.2 (packages): no longer held"]
    assert sorted(host.known["held"]) == own
    host.call("13.0")
    assert host.known["held"] == []
    host.call("13.0.1")
    assert host.known["installed"]["cuda-toolkit-13-0"] == "13.0.1-1"
    host.call(state="absent")
    assert (host.known["installed"], host.known["held"]) == ({}, [])


def test_a_version_that_cannot_be_had_leaves_the_old_one_held(host: Host) -> None:
    host.call("13.0.1")
    held = sorted(host.known["held"])
    with pytest.raises(Fault, match="cannot be installed"):
        host.call("13.0.7")
    assert sorted(host.known["held"]) == held
    assert host.call("13.0.1")["changed"] is False


def test_an_order_that_was_carried_out_between_two_looks_does_no_harm(host: Host) -> None:
    host.call("13.0", "12.9")
    spec = json.loads(Path(host.started[0][0][-1]).read_text())
    before = host.ledger
    install.change({**spec, "remove": ["11.8"]})
    assert host.ledger == before


@pytest.mark.parametrize("version", ["13.5", "13.0.7"])
def test_what_the_repository_lacks_is_said_with_the_way_out(host: Host, version: str) -> None:
    with pytest.raises(Fault, match="cannot be installed") as caught:
        host.call(version)
    assert (
        "cuda_toolkit_source: runfile" in caught.value.next_step
        or "instead of 13.0.2" in caught.value.next_step
    )
    assert host.ledger == {}


def test_a_broken_transaction_is_finished_by_the_next_run(host: Host) -> None:
    host.change(**{"break": True})
    with pytest.raises(Fault, match=r"installing CUDA toolkit 13\.0 failed"):
        host.call("13.0")
    assert host.ledger["13.0"]["unfinished"] is True
    # What came before it broke counts as brought.
    assert host.call("13.0")["changed"] is True
    assert "unfinished" not in host.ledger["13.0"]
    host.call(state="absent")
    assert host.known["installed"] == {}


@pytest.mark.parametrize("what", ["cuda", "cuda-13.0"])
def test_a_foreign_directory_is_refused_before_anything_is_started(host: Host, what: str) -> None:
    (host.local / what).mkdir()
    (host.local / what / "file").touch()
    with pytest.raises(Fault, match=rf"{what} already exists and was not created by this tool"):
        host.call("13.0", state="inspected")
    assert (host.local / what / "file").exists()
    host.call(state="absent")
    assert (host.local / what / "file").exists()


def test_a_foreign_link_and_a_foreign_profile_are_refused(host: Host) -> None:
    (host.local / "cuda").symlink_to("/opt/own")
    with pytest.raises(Fault, match="leads to /opt/own, which is not a CUDA toolkit"):
        host.call("13.0", state="inspected")
    (host.local / "cuda").unlink()
    (host.root / "etc").mkdir()
    (host.root / "etc/profile").write_text("export PATH=/opt/cuda/bin:$PATH\n")
    with pytest.raises(Fault, match="profile already exists"):
        host.call("13.0", state="inspected")


def test_a_link_to_another_toolkit_is_moved(host: Host) -> None:
    (host.local / "cuda-11.8").mkdir()
    (host.local / "cuda").symlink_to("cuda-11.8")
    host.call("13.0")
    assert (host.local / "cuda").resolve() == host.local / "cuda-13.0"


def test_where_packages_use_alternatives_they_decide(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def alternatives(*words: str) -> bool:
        asked.append(words)
        return words[0] != "--set" or len(asked) > 1

    monkeypatch.setattr(cuda_place, "_alternatives", alternatives)
    folder = host.root / "etc/alternatives"
    folder.mkdir(parents=True)
    (folder / "cuda").symlink_to(host.local / "cuda-12.9")
    (host.local / "cuda").symlink_to(folder / "cuda")
    host.call("13.0")
    end = str(host.local / "cuda-13.0")
    assert asked == [
        ("--set", "cuda", end),
        ("--install", str(host.local / "cuda"), "cuda", end, "1"),
        ("--set", "cuda", end),
    ]


def test_polls_with_progress_and_lets_another_order_end_first(host: Host) -> None:
    host.works = False
    host.after = host.now = BUSY
    host.patch.setattr(job, "start_or_attach", lambda *_, **__: True)
    found = host.call("13.0")
    assert (found["changed"], found["finished"]) == (True, False)  # the next call may find it all done
    assert found["provision"]["progress"]["label"] == "provision-job-cuda"


def test_the_unit_may_do_what_a_package_manager_does(host: Host) -> None:
    host.call("13.0")
    ((argv, properties, environment_file),) = host.started
    assert argv[0] == "provision-job-cuda"
    assert (properties["NoNewPrivileges"], properties["RuntimeMaxSec"]) == (False, 7200)
    assert environment_file is None


def test_verify_asks_each_compiler(host: Host) -> None:
    host.call("13.0", "12.9")
    found = host.call("13.0", "12.9", state="verified")
    (rung,) = found["provision"]["rungs"]
    assert (rung["rung"], rung["status"]) == ("CUDA toolkit", "passed")
    assert f"{host.local}/cuda-12.9/bin/nvcc is of CUDA 12.9" in rung["evidence"]
    (host.local / "cuda-12.9/bin/nvcc").write_text("#!/bin/sh\nexit 1\n")
    (host.local / "cuda").unlink()
    wrong = host.call("13.0", "12.9", state="verified")
    assert wrong["failed"] is True
    assert wrong["msg"].startswith(
        f"{host.local}/cuda-12.9/bin/nvcc reports no version; {host.local}/cuda is missing"
    )
    assert wrong["provision"]["next"]


def test_gpus_and_driver_are_asked_before_anything(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    pascal: list[dict[str, Any]] = [{"kind": "gpu", "driver": None, "architecture": "Pascal"}]
    monkeypatch.setattr(cuda_toolkit, "devices", lambda: pascal)
    with pytest.raises(Fault, match=r"CUDA toolkit 13\.0 compiles nothing for Pascal"):
        host.call("13.0", state="inspected", driver_settled=False)
    assert host.call("13.0", state="inspected", container=True)["changed"] is False
    monkeypatch.setattr(cuda_toolkit, "loaded_driver", lambda: ("470.256.02", None))
    with pytest.raises(Fault, match=r"CUDA toolkit 12\.9 needs driver 525 or newer"):
        host.call("12.9", state="inspected")
    # The driver that is loaded now may be replaced before the toolkits come.
    assert host.call("12.9", state="inspected", driver_settled=False)["finished"] is True


def test_the_program_carries_all_it_imports(host: Host, tmp_path: Path) -> None:
    host.call("13.0")
    program = install.install(tmp_path / "program")
    spec = json.loads(Path(host.started[0][0][-1]).read_text())
    (tmp_path / "spec.json").write_text(json.dumps({**spec, "remove": ["13.0"], "install": []}))
    argv = [sys.executable, "-I", str(program), "bring", str(tmp_path / "spec.json")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert host.known["installed"] == {}
