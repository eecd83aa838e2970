# SPDX-License-Identifier: Apache-2.0
"""A model is forgotten once its removal has ended, and not before."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.engine_ollama import job as ollama_job
from ansible.module_utils.engine_ollama import orders, record
from ansible.module_utils.engine_ollama.names import Name
from ansible.module_utils.engine_ollama.record import read_record, write_record
from ansible.module_utils.engine_ollama.store import Store
from ansible.module_utils.provision.host.fault import ConsentNeeded
from ansible.module_utils.provision.jobs import job
from ansible.module_utils.provision.jobs.unit import UnitState

from roles.engine_ollama.library import ollama_models
from tests.unit.fakes import Answers, Programs, Said
from tests.unit.ollama.registry import digest_of

USER = pwd.getpwuid(os.getuid()).pw_name
GONE = UnitState(active="inactive", result="success", exit_status=0, invocation="")
BUSY = UnitState(active="active", result="success", exit_status=0, invocation="1")
FAILED = UnitState(active="failed", result="exit-code", exit_status=1, invocation="1")


class Host:
    """A host with a models directory, whose unit works when a test says so."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.now = self.after = GONE
        self.specs: list[Path] = []
        self.waited = 0
        self.programs = Answers(monkeypatch)
        monkeypatch.setattr(record, "STATE", folder / "records")
        monkeypatch.setattr(job, "state", lambda _: self.now)
        monkeypatch.setattr(job, "wait", self.wait)
        monkeypatch.setattr(job, "journal_tail", lambda *_: "last words")
        monkeypatch.setattr(job, "start_or_attach", self.start)
        # The engine's user exists on hosts alone.
        monkeypatch.setattr("grp.getgrnam", lambda _: SimpleNamespace(gr_gid=0))
        monkeypatch.setattr("os.chown", lambda *_, **__: None)

    def wait(self, *_: object) -> UnitState:
        self.waited += 1
        return self.after

    def start(self, _unit: str, argv: list[str], **_: object) -> bool:
        assert argv[2] == "prune"
        self.specs.append(Path(argv[3]))
        self.now = self.after
        return True

    def finish(self) -> None:
        """Let the unit do its work and end."""
        spec = json.loads(self.specs[-1].read_text())
        Path(spec["result"]).parent.mkdir(parents=True, exist_ok=True)
        ollama_job.JOBS["prune"](spec)
        self.now = self.after = GONE

    def add(self, name: str, root: str = "models", **entry: Any) -> str:
        """Put a model into a directory and into its record, and return the digest of its blob."""
        store = Store(self.folder / root)
        digest = digest_of(name.encode())
        store.blobs.mkdir(parents=True, exist_ok=True)
        store.blob(digest).write_bytes(name.encode())
        layer = {"digest": digest, "size": len(name), "mediaType": "x"}
        manifest = store.manifests / Name.parse(name).path
        manifest.parent.mkdir(parents=True)
        manifest.write_text(json.dumps({"layers": [layer]}))
        kept = read_record(str(self.folder / root))
        kept["models"][name] = {"made": True, "digest": digest, **entry}
        kept["stamps"][digest] = store.stamp(digest)
        write_record(kept)
        return digest

    def recorded(self, root: str = "models") -> list[str]:
        return sorted(read_record(str(self.folder / root))["models"])

    def held(self, name: str, root: str = "models") -> bool:
        return Store(self.folder / root).manifest(Name.parse(name)) is not None

    def call(self, check: bool = False, **changes: Any) -> dict[str, Any]:
        given = {key: option.get("default") for key, option in ollama_models.ARGUMENTS.items()}
        folders = {"programs": str(self.folder / "programs"), "runtime": str(self.folder / "run/provision")}
        own = {"state": "absent", "user": USER, "consent": True, **folders}
        module: Any = SimpleNamespace(params={**given, **own, **changes}, check_mode=check)
        result: dict[str, Any] = ollama_models.absent(module)
        return result


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_a_model_is_recorded_until_its_removal_has_ended(host: Host) -> None:
    digest = host.add("old:1")
    host.after = BUSY
    first = host.call()
    assert (first["changed"], first["finished"]) == (True, False)
    assert "progress" in first["provision"]
    assert host.recorded() == ["old:1"]
    assert host.call()["finished"] is False
    assert len(host.specs) == 1
    host.finish()
    last = host.call()
    assert (last["changed"], last["finished"], last["removed"]) == (True, True, ["old:1"])
    assert len(host.specs) == 1
    assert not host.held("old:1")
    assert digest not in read_record(str(host.folder / "models"))["stamps"]
    assert (host.recorded(), host.call()["changed"]) == ([], False)


def test_what_stays_keeps_its_record_and_what_is_gone_loses_its_stamp(host: Host) -> None:
    gone, kept = host.add("old:1"), host.add("theirs:1")
    service = {
        "serve_model": "theirs:1",
        "serve_model_source": "ollama",
        "engine_ollama_models_dir": str(host.folder / "models"),
    }
    host.after = BUSY
    assert host.call(services=[service])["finished"] is False
    host.finish()
    assert host.call(services=[service])["removed"] == ["old:1"]
    assert (host.recorded(), host.held("theirs:1")) == (["theirs:1"], True)
    stamps = read_record(str(host.folder / "models"))["stamps"]
    assert (gone in stamps, kept in stamps) == (False, True)


def test_a_removal_that_fails_is_a_warning_and_not_forgotten(host: Host) -> None:
    host.add("old:1")
    host.after = FAILED
    ended = host.call()
    assert (ended["changed"], ended["finished"], ended["removed"]) == (False, True, [])
    (warning,) = ended["provision"]["warning"]
    assert warning.startswith(f"old:1 stay in {host.folder}/models: ")
    assert "last words" in warning
    assert (host.recorded(), host.held("old:1")) == (["old:1"], True)


def test_models_in_a_folder_that_is_closed_are_a_warning_and_others_are_removed(host: Host) -> None:
    host.add("old:1", "a")
    host.add("other:1", "b")
    blocked = str(host.folder / "a")

    def closed(argv: Sequence[str]) -> Said:
        return Said(blocked if blocked in argv else "")

    programs = Programs(host.monkeypatch)
    for name in ("stat", "systemctl"):
        programs.add(name)
    programs.add("setpriv", closed)
    first = host.call(check=True, consent=False)
    assert (first["removed"], first["changed"]) == (["other:1"], True)
    host.after = BUSY
    assert host.call()["finished"] is False
    host.finish()
    last = host.call()
    assert (last["finished"], last["removed"]) == (True, ["other:1"])
    assert f"cannot read and write {blocked}" in last["provision"]["warning"][0]
    assert (host.recorded("a"), host.recorded("b")) == (["old:1"], [])


def test_a_folder_that_was_moved_away_is_forgotten(host: Host) -> None:
    host.add("old:1")
    (host.folder / "models").rename(host.folder / "elsewhere")
    ended = host.call()
    assert (ended["finished"], "provision" in ended, host.recorded()) == (True, False, [])


def test_a_folder_on_a_disk_that_is_not_mounted_is_remembered(host: Host) -> None:
    host.add("old:1")
    (host.folder / "models").rename(host.folder / "elsewhere")
    host.programs.answer("systemd-escape", "disk.mount")
    host.programs.answer("systemctl show", f"Where={host.folder}\nLoadState=loaded\nActiveState=inactive\n")
    (warning,) = host.call()["provision"]["warning"]
    assert f"nothing is mounted on {host.folder}; mount it" in warning
    assert host.recorded() == ["old:1"]


def test_a_model_that_is_spelt_in_another_case_is_not_another_one(host: Host) -> None:
    host.add("small:1B")
    assert host.held("Small:1b")
    model = {"serve_model_source": "ollama", "serve_model": "Small:1b", "served_name": "Small:1b"}
    service = {**model, "engine_ollama_models_dir": str(host.folder / "models")}
    ended = host.call(services=[service])
    assert (ended["changed"], host.recorded(), host.held("small:1B")) == (False, ["small:1B"], True)
    assert Store(host.folder / "models").spelt("Small:1b") == "small:1B"
    assert Store(host.folder / "models").spelt("other/New:2") == "other/New:2"
    Store(host.folder / "models").drop(Name.parse("SMALL:1b"))
    assert not host.held("small:1B")


def test_root_removes_the_models_of_a_user_that_is_gone(host: Host) -> None:
    host.add("old:1")
    host.after = BUSY
    assert host.call(user="gone-with-the-service")["finished"] is False
    assert "--reuid=0" in next(call for call in host.programs.calls if call[0] == "setpriv")
    host.finish()
    assert host.call(user="gone-with-the-service")["removed"] == ["old:1"]
    assert (host.recorded(), host.held("old:1")) == ([], False)


def test_one_directory_follows_the_other(host: Host) -> None:
    host.add("old:1", "a")
    host.add("other:1", "b")
    host.after = BUSY
    assert host.call()["finished"] is False
    host.finish()
    host.after = BUSY
    assert host.call()["finished"] is False
    assert (host.recorded("a"), host.recorded("b")) == ([], ["other:1"])
    host.finish()
    assert host.call()["finished"] is True
    assert (host.recorded("b"), host.held("other:1", "b"), len(host.specs)) == ([], False, 2)


def test_the_removal_of_an_earlier_run_is_waited_for(host: Host) -> None:
    host.add("old:1")
    host.after = BUSY
    host.call()
    host.add("older:1")
    waited = host.waited
    assert host.call()["finished"] is False
    assert (host.waited, len(host.specs)) == (waited + 1, 1)
    host.finish()
    host.after = BUSY
    assert host.call()["finished"] is False
    assert json.loads(host.specs[-1].read_text())["names"] == ["old:1", "older:1"]


def test_a_result_of_an_earlier_removal_does_not_count(host: Host) -> None:
    host.add("old:1")
    host.after = BUSY
    host.call()
    host.finish()
    host.call()
    host.add("old:1")
    host.after = BUSY
    assert host.call()["finished"] is False
    assert (host.recorded(), len(host.specs)) == (["old:1"], 2)


def test_a_model_that_was_there_before_is_forgotten_and_stays(host: Host) -> None:
    host.add("found:1", made=False)
    assert host.call() == {"changed": False, "finished": True, "removed": []}
    assert (host.recorded(), host.held("found:1"), host.specs) == ([], True, [])


def test_consent_is_required_and_check_mode_changes_nothing(host: Host) -> None:
    host.add("old:1")
    with pytest.raises(ConsentNeeded):
        host.call(consent=False)
    listed = host.call(check=True, consent=False)
    assert f"remove old:1 from {host.folder}/models: no service lists it" in str(listed["provision"])
    assert host.call(check=True)["removed"] == ["old:1"]
    assert (host.recorded(), host.held("old:1"), host.specs) == (["old:1"], True, [])


def test_orders_of_another_version_of_this_program_are_understood() -> None:
    needed: dict[str, Any] = {
        "title": "t",
        "root": "/models",
        "binary": "/ollama",
        "registry": "https://hub.example",
    }
    needed.update(models=[], entries={}, stamps={})
    given = orders.Orders.read({**needed, "added_later": 1})
    assert (given.linked, given.limits, given.attempts) == ({}, {}, 5)
    assert orders.Orders.read(json.loads(json.dumps(given.to_dict()))) == given
