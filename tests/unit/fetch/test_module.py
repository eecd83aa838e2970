# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.provision.fetch import place
from ansible.module_utils.provision.fetch.archive import install
from ansible.module_utils.provision.fetch.place import Wanted, write_manifest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.systemd import UnitState
from ansible.module_utils.provision.jobs import sandbox

from provisioner.ansible.modules import release_archive
from tests.unit.fakes import Systemd

GONE = UnitState()
BUSY = UnitState(active="active", invocation="1")
FAILED = UnitState(active="failed", result="exit-code", exit_status=1, invocation="1")
DIGEST = "ab" * 32


class Host:
    """A host whose unit does what a test says."""

    def __init__(self, root: Path, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.systemd = root, systemd
        systemd.after = GONE
        monkeypatch.setattr(release_archive, "unused", self.unused)
        (root / "units").mkdir()

    def unused(self, root: Path, name: str, keep: list[str]) -> list[Path]:
        return list(place.unused(root, name, keep, self.root / "units"))

    def tell(self, directory: str, **body: Any) -> None:
        path = self.root / "runtime/provision-job-archive-tool.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"directory": directory, **body}))

    def publish(self, version: str = "1.0", *, name: str = "tool", sha256: str = DIGEST) -> Path:
        directory = self.root / "archives" / name / f"{version}-{sha256[:12]}"
        (directory / "bin").mkdir(parents=True)
        (directory / "bin/tool").write_bytes(b"program")
        write_manifest(directory, Wanted(name, version, sha256, "bin/tool"), {"bin/tool": 7})
        return directory

    def call(self, check: bool = False, **params: Any) -> dict[str, Any]:
        given = {key: option.get("default") for key, option in release_archive.ARGUMENTS.items()}
        folders = {key: str(self.root / key) for key in ("cache", "runtime", "programs")}
        asked = {"name": "tool", "version": "1.0", "sha256": DIGEST, "executable": "bin/tool", "poll": 0}
        own = {
            "root": str(self.root / "archives"),
            "environment_file": str(self.root / "tool.env"),
            "poll": 0,
        }
        module = SimpleNamespace(params={**given, **folders, **asked, **own, **params}, check_mode=check)
        result: dict[str, Any] = release_archive.outcome(module)
        return result


@pytest.fixture
def host(tmp_path: Path, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, systemd, monkeypatch)


def test_what_is_there_is_found_with_one_look(host: Host) -> None:
    directory = host.publish()
    result = host.call(state="inspected", known={"other": "/x"})
    assert host.systemd.programs.calls == []
    assert (result["changed"], result["present"], result["directory"]) == (False, True, str(directory))
    assert result["ansible_facts"]["release_archives"] == {"other": "/x", "tool": str(directory)}
    assert "diff" not in result


@pytest.mark.parametrize("damage", ["manifest", "size", "file", "hash"])
def test_what_is_damaged_is_not_there(host: Host, damage: str) -> None:
    directory = host.publish()
    manifest = directory / ".provision-archive.json"
    if damage == "manifest":
        manifest.write_text("{")
    elif damage == "hash":
        manifest.write_text(manifest.read_text().replace(DIGEST, "cd" * 32))
    elif damage == "size":
        (directory / "bin/tool").write_bytes(b"")
    else:
        (directory / "bin/tool").unlink()
    assert host.call(state="inspected")["present"] is False


def test_a_complete_archive_without_the_program_is_a_mistake(host: Host) -> None:
    host.publish()
    with pytest.raises(Fault, match="does not contain bin/other: it has bin/tool"):
        host.call(state="inspected", executable="bin/other")


def test_check_mode_says_what_would_come_and_does_nothing(host: Host) -> None:
    before = sorted(host.root.rglob("*"))
    result = host.call(check=True)
    assert (result["changed"], result["finished"], result["present"]) == (True, True, False)
    assert f"tool 1.0, sha256 {DIGEST}" in result["diff"]["after"]
    assert result["ansible_facts"]["release_archives"]["tool"] == result["directory"]
    assert sorted(host.root.rglob("*")) == before
    assert host.systemd.started == []


def test_starts_one_fenced_unit_with_orders_for_root_alone(host: Host) -> None:
    host.systemd.after = BUSY
    result = host.call(needed_bytes=7)
    assert (result["finished"], result["changed"]) == (False, True)  # the next call may find it all done
    ((unit, words, properties),) = host.systemd.started
    assert unit == "provision-job-archive-tool"
    assert words[2] == "fetch"
    assert properties["EnvironmentFile"] == str(host.root / "tool.env")
    orders = Path(words[3])
    assert orders.stat().st_mode & 0o777 == 0o600
    told = json.loads(orders.read_text())
    assert (told["directory"], told["needed_bytes"]) == (result["directory"], 7)
    assert properties["UMask"] == "0022"
    assert properties["Description"] == f"Download the release archive {result['directory']}"
    assert properties["NoNewPrivileges"] == "yes"
    assert f'"{host.root}/archives"' in properties["ReadWritePaths"]
    assert (host.root / "archives").is_dir()


def test_labels_what_it_unpacked_where_selinux_rules(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "RESTORECON", Path(sys.executable))
    monkeypatch.setattr(sandbox, "SELINUX", host.root)
    host.systemd.after = BUSY
    directory = host.call()["directory"]
    assert host.systemd.started[0].properties["ExecStopPost"] == f"-+{sys.executable} -RF {directory}"


def test_polls_with_progress_until_it_is_there(host: Host) -> None:
    host.systemd.state = BUSY
    directory = host.call(check=True)["directory"]
    (host.root / "runtime").mkdir()
    orders = host.root / "runtime/provision-job-archive-tool.spec.json"
    orders.write_text(json.dumps({"directory": directory}))
    progress = {"label": "tool 1.0", "done_bytes": 5, "total_bytes": 7}
    host.tell(directory, state="running", progress=progress)
    assert host.call()["provision"]["progress"] == progress
    host.systemd.state = GONE
    host.publish()
    assert host.call()["changed"] is False
    assert host.systemd.started == []


def test_a_unit_that_ends_in_time_is_a_change_with_its_warnings(host: Host) -> None:
    def work() -> None:
        directory = host.publish()
        host.tell(str(directory), state="done", warnings=["size unknown"])

    host.systemd.work = work
    result = host.call()
    assert (result["changed"], result["finished"], result["present"]) == (True, True, True)
    assert result["provision"]["warning"] == ["size unknown"]


def test_a_failure_speaks_in_the_words_of_the_unit(host: Host) -> None:
    host.systemd.after = FAILED
    directory = host.call(check=True)["directory"]
    host.systemd.work = lambda: host.tell(
        directory, state="failed", message="no disk", next="free some", invocation="1"
    )
    with pytest.raises(Fault, match="no disk") as caught:
        host.call()
    assert caught.value.next_step == "free some"


def test_waits_for_another_version_of_the_name(host: Host) -> None:
    host.systemd.state = BUSY
    (host.root / "runtime").mkdir()
    orders = host.root / "runtime/provision-job-archive-tool.spec.json"
    orders.write_text(json.dumps({"directory": "/other"}))
    host.tell("/other", state="running", progress={"label": "tool 0.9"})
    result = host.call()
    assert (result["changed"], result["provision"]["progress"]["label"]) == (False, "tool 0.9")
    assert host.systemd.started == []
    assert json.loads(orders.read_text()) == {"directory": "/other"}


def test_the_failure_of_another_version_is_not_ours(host: Host) -> None:
    host.systemd.after = FAILED
    host.tell("/other", state="failed", message="no disk", next="", invocation="1")
    assert host.call()["finished"] is False


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../x"),
        ("name", "Tool"),
        ("version", "1/0"),
        ("version", ""),
        ("version", ".partial"),
        ("sha256", "abc"),
        ("executable", "/bin/sh"),
        ("executable", "../sh"),
        ("executable", ""),
    ],
)
def test_values_that_could_lead_elsewhere_are_refused(host: Host, key: str, value: str) -> None:
    with pytest.raises(Fault, match=f"release_archive_{key} is "):
        host.call(check=False, **{key: value})
    assert host.systemd.started == []


def test_a_hash_may_be_in_capitals(host: Host) -> None:
    host.publish()
    assert host.call(state="inspected", sha256=f" {DIGEST.upper()} ")["present"] is True


def test_prunes_what_no_unit_names(host: Host) -> None:
    used, kept, old = host.publish("0.8"), host.publish("1.0"), host.publish("0.9")
    foreign = host.root / "archives/tool/notes"
    foreign.mkdir()
    partial = host.root / "archives/tool/.2.0-aaaaaaaaaaaa.partial"
    partial.mkdir()
    (host.root / "units/tool.service").write_text(f"ExecStart={used}/bin/tool\n")
    pruned: dict[str, Any] = {"state": "absent", "keep": [str(kept)]}
    assert host.call(check=True, **pruned)["removed"] == [str(old), str(partial)]
    assert old.exists()
    host.systemd.state = BUSY
    assert host.call(check=True, **pruned)["removed"] == [str(old)]
    host.systemd.state = GONE
    result = host.call(**pruned)
    assert result["diff"] == {"before": f"{old}\n{partial}\n", "after": ""}
    assert (old.exists(), kept.exists(), used.exists(), foreign.exists()) == (False, True, True, True)
    assert host.call(**pruned)["changed"] is False


def test_removal_ends_the_unit_and_leaves_what_is_used(host: Host) -> None:
    used, old = host.publish("0.8"), host.publish("0.9")
    (host.root / "units/tool.service").write_text(f"ExecStart={used}/bin/tool\n")
    host.tell(str(old), state="running")
    (host.root / "tool.env").write_text("RELEASE_ARCHIVE_URL=x")
    program = install(host.root / "programs")
    (host.root / "cache/tool").mkdir(parents=True)
    (host.root / "archives/other").mkdir()
    host.systemd.state = BUSY
    before = sorted(host.root.rglob("*"))
    assert host.call(check=True, state="absent", everything=True)["changed"] is True
    assert sorted(host.root.rglob("*")) == before
    removed = host.call(state="absent", everything=True)["removed"]
    assert removed[:2] == ["provision-job-archive-tool", str(old)]
    assert "stop provision-job-archive-tool" in host.systemd.calls
    assert (used.exists(), old.exists(), program.exists()) == (True, False, True)
    host.systemd.state = GONE
    (host.root / "units/tool.service").unlink()
    (host.root / "archives/other").rmdir()
    host.call(state="absent", everything=True)
    assert not (host.root / "archives").exists()
    assert not (host.root / "cache").exists()
    assert not program.exists()
    assert host.call(state="absent", everything=True)["changed"] is False


def test_the_program_runs_by_itself(host: Host) -> None:
    program = install(host.root)
    ran = subprocess.run(
        [sys.executable, "-I", str(program), "fetch", "/nowhere"], capture_output=True, check=False
    )
    assert b"/nowhere: No such file or directory" in ran.stderr
