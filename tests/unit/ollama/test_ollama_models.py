# SPDX-License-Identifier: Apache-2.0
"""The module ollama_models, from its arguments to its result; its job does its work in the test's process."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.engine_ollama import job as ollama_job
from ansible.module_utils.engine_ollama import record, unit
from ansible.module_utils.provision.engine import files
from ansible.module_utils.provision.host.entry import end as end_module
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.jobs import job
from ansible.module_utils.provision.jobs.unit import UnitState

from roles.engine_ollama.library import ollama_models
from tests.unit.fakes import Answers
from tests.unit.ollama.conftest import FakeOllama
from tests.unit.ollama.registry import Registry

IDLE = UnitState(active="inactive", result="success", exit_status=0, invocation="")
BUSY = UnitState(active="active", result="success", exit_status=0, invocation="1")
FAILED = UnitState(active="failed", result="exit-code", exit_status=1, invocation="1")
STATES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "present": ollama_models.present,
    "verified": ollama_models.verified,
    "absent": ollama_models.absent,
}
USER = pwd.getpwuid(os.getuid()).pw_name


class Ended(Exception):
    """Carry what the module returned."""

    def __init__(self, *, failed: bool, **result: Any) -> None:
        super().__init__(result)
        self.failed, self.result = failed, result


class Host:
    """Hold a host with an Ollama, whose unit works at once, or is still at work where it is `slow`."""

    def __init__(self, root: Path, models: Path, registry: Registry) -> None:
        self.root, self.models, self.registry = root, models, registry
        self.slow = self.busy = False
        self.programs: Answers
        self.started: list[str] = []
        self.users: list[str] = []
        self.after = IDLE
        self.service: dict[str, Any] = {
            "unit": "ollama.service",
            "serve_name": "ollama",
            "serve_model": "small:1",
            "serve_model_source": "ollama",
            "served_name": "small:1",
            "engine_ollama_models_dir": str(models),
        }

    def start(self, name: str, argv: list[str], **_given: Any) -> bool:
        self.started.append(f"{name} {argv[2]}")
        self.after, self.busy = IDLE, self.slow
        if self.slow:
            return True
        try:
            ollama_job.PROGRAM.jobs[argv[2]](json.loads(Path(argv[3]).read_text()))
        except Exception:  # noqa: BLE001 - a unit ends badly whatever its program raised
            self.after = FAILED
        return True

    def call(self, state: str, *, check: bool = False, **changes: Any) -> Ended:
        defaults = {name: option.get("default") for name, option in ollama_models.ARGUMENTS.items()}
        given = {
            "service": self.service,
            "services": [self.service],
            "binary": "/nowhere/ollama",
            "user": USER,
            "registry": self.registry.url,
            "reserve_bytes": 0,
            "poll": 0,
            "run": "this run",
            "programs": str(self.root / "programs"),
            "runtime": str(self.root / "run/provision"),
        }

        def fail(**result: Any) -> None:
            raise Ended(failed=True, **result)

        def leave(**result: Any) -> None:
            raise Ended(failed=False, **result)

        module = SimpleNamespace(
            params={**defaults, **given, **changes}, check_mode=check, fail_json=fail, exit_json=leave
        )
        with pytest.raises(Ended) as end:
            end_module(module, STATES[state])
        return end.value

    @property
    def manifests(self) -> list[str]:
        return sorted(path.name for path in (self.models / "manifests").rglob("*") if path.is_file())

    @property
    def blobs(self) -> list[Path]:
        return sorted((self.models / "blobs").glob("*"))


@pytest.fixture
def host(registry: Registry, ollama: FakeOllama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    registry.add("library/small:1", b"weights" * 1000, template=b"{{ .Prompt }}")
    made = Host(tmp_path, ollama.root, registry)
    made.programs = Answers(monkeypatch)
    (tmp_path / "run/provision-job-ollama-ollama").mkdir(parents=True)
    (tmp_path / "run/provision-job-ollama-prune").mkdir()
    monkeypatch.setattr(record, "STATE", tmp_path / "state")
    monkeypatch.setattr(job, "state", lambda _: BUSY if made.busy else IDLE)
    monkeypatch.setattr(job, "wait", lambda *_: BUSY if made.busy else made.after)
    monkeypatch.setattr(job, "start_or_attach", made.start)
    monkeypatch.setattr(job, "journal_tail", lambda *_: "last words")
    # Only root can make users and give files away, and the tests need not be root.
    monkeypatch.setattr(files, "user_is_right", lambda *_: False)
    monkeypatch.setattr(files, "make_user", lambda user, _groups: made.users.append(user))
    monkeypatch.setattr(unit.OllamaJob, "write_orders", job.Job.write_orders)
    return made


def test_a_model_is_pulled_once(host: Host) -> None:
    first = host.call("present").result
    assert (first["changed"], first["finished"], first["models"]) == (True, True, ["small:1"])
    assert (first["name"], first["preload"], first["repaired"]) == ("small:1", [], [])
    assert (host.manifests, host.users) == (["1"], [USER])
    again = host.call("present").result
    assert (again["changed"], again["models"], again["diff"]) == (False, [], [])
    assert host.started == ["provision-job-ollama-ollama ensure"]


def test_check_mode_says_what_would_be_pulled_and_does_nothing(host: Host) -> None:
    told = host.call("present", check=True).result
    assert (told["changed"], told["models"]) == (True, ["small:1"])
    assert "small:1" in told["diff"][0]["after"]
    assert (host.started, host.users, host.manifests, host.registry.asked) == ([], [], [], [])


def test_a_pull_in_progress_is_followed_and_not_started_again(host: Host) -> None:
    host.slow = True
    for _ in range(2):
        told = host.call("present").result
        assert (told["changed"], told["finished"]) == (False, False)
        assert told["provision"]["progress"]["label"]
    assert host.started == ["provision-job-ollama-ollama ensure"]


def test_a_pull_that_fails_leaves_its_reason(host: Host) -> None:
    host.registry.manifests.clear()
    end = host.call("present")
    assert (end.failed, end.result["finished"]) == (True, True)
    assert end.result["msg"]
    assert end.result["provision"]["next"]
    # What it began is remembered as ours, so that a removal finds it.
    assert record.read_record(str(host.models))["models"]["small:1"]["pending"]


def test_two_services_that_contradict_each_other_are_refused(host: Host) -> None:
    other = {**host.service, "unit": "ollama@b.service", "engine_ollama_system": "Be brief."}
    end = host.call("present", services=[host.service, other])
    assert end.failed
    assert "different models of the name small:1" in end.result["msg"]
    assert host.started == []


def test_whole_blobs_are_verified_once_in_a_run(host: Host) -> None:
    host.call("present")
    for _ in range(2):
        end = host.call("verified", deep=True)
        (found,) = end.result["provision"]["rungs"]
        assert (end.failed, end.result["changed"], found["status"]) == (False, False, "passed")
        assert found["evidence"].startswith("small:1: 3 blobs, ")
    assert host.started[1:] == ["provision-job-ollama-ollama verify"]
    host.call("verified", deep=True, run="the next run")
    assert len(host.started) == 3


@pytest.mark.parametrize("deep", [False, True])
def test_a_damaged_blob_fails_and_is_replaced_by_the_next_apply(host: Host, deep: bool) -> None:
    host.call("present")
    largest = max(host.blobs, key=lambda path: path.stat().st_size)
    largest.write_bytes(b"damaged")
    end = host.call("verified", deep=deep)
    (found,) = end.result["provision"]["rungs"]
    assert (end.failed, found["status"], found["rung"]) == (True, "failed", "files")
    assert found["next"] == end.result["provision"]["next"] == ollama_models.APPLY
    repaired = host.call("present").result
    assert (repaired["changed"], repaired["models"]) == (True, [])
    assert repaired["repaired"]
    assert repaired["provision"]["warning"][0].startswith("replaced: ")
    assert not host.call("verified", deep=deep, run="the next run").failed


def test_a_glance_reads_no_blob(host: Host) -> None:
    host.call("present")
    (found,) = host.call("verified").result["provision"]["rungs"]
    assert found["status"] == "passed"
    assert (
        "unchanged since their hashes were checked; `provision verify --deep` reads them" in found["evidence"]
    )
    assert len(host.started) == 1


@pytest.mark.parametrize("deep", [False, True])
def test_a_model_that_is_not_there_fails_verification(host: Host, deep: bool) -> None:
    end = host.call("verified", deep=deep)
    assert end.failed
    assert end.result["msg"] == f"small:1 is not in {host.models}"


def test_a_missing_folder_fails_and_check_mode_reads_none(host: Host) -> None:
    host.service["engine_ollama_models_dir"] = "/nowhere"
    assert host.call("verified").result["msg"] == "/nowhere does not exist"
    end = host.call("verified", check=True)
    assert (end.failed, end.result["provision"]["rungs"][0]["status"]) == (False, "not applicable")
    assert host.started == []


def test_verification_in_progress_is_followed(host: Host) -> None:
    host.call("present")
    host.slow = True
    assert [host.call("verified", deep=True).result["finished"] for _ in range(2)] == [False, False]
    assert len(host.started) == 2


def test_models_that_no_service_uses_are_removed_with_consent(host: Host) -> None:
    host.call("present")
    refused = host.call("absent", services=[])
    assert refused.failed
    assert refused.result["provision"]["next"] == ollama_models.NO_CONSENT
    assert host.manifests == ["1"]
    foreseen = host.call("absent", services=[], check=True)
    assert (foreseen.failed, foreseen.result["removed"]) == (False, ["small:1"])
    assert host.manifests == ["1"]
    done = host.call("absent", services=[], consent=True).result
    assert (done["changed"], done["removed"]) == (True, ["small:1"])
    assert (host.manifests, host.blobs, list((host.root / "state").glob("*"))) == ([], [], [])
    again = host.call("absent", services=[], consent=True).result
    assert (again["changed"], again["removed"]) == (False, [])


def test_models_that_a_service_uses_or_that_others_made_stay(host: Host) -> None:
    host.call("present")
    assert host.call("absent", consent=True).result["removed"] == []
    known = record.read_record(str(host.models))
    known["models"]["small:1"]["made"] = False
    record.write_record(known)
    done = host.call("absent", services=[], consent=True).result
    assert (done["changed"], done["removed"], host.manifests) == (False, [], ["1"])
    assert record.records() == []


def test_a_removal_that_takes_longer_keeps_the_record_until_it_has_ended(host: Host) -> None:
    host.call("present")
    host.slow = True
    for _ in range(2):
        told = host.call("absent", services=[], consent=True).result
        assert (told["changed"], told["finished"]) == (True, False)
    assert host.started[1:] == ["provision-job-ollama-prune prune"]
    assert list(record.read_record(str(host.models))["models"]) == ["small:1"]
    host.slow = host.busy = False
    done = host.call("absent", services=[], consent=True).result
    assert (done["finished"], done["removed"], host.manifests, record.records()) == (
        True,
        ["small:1"],
        [],
        [],
    )


def test_a_folder_that_the_user_cannot_reach_is_refused_before_anything_starts(host: Host) -> None:
    host.programs.answer("setpriv", str(host.models.parent))
    for check in (True, False):
        ended = host.call("present", check=check)
        assert ended.failed
        assert "is out of reach: " in ended.result["msg"]
        assert "engine_ollama_models_dir (OLLAMA_MODELS)" in ended.result["provision"]["next"]
    assert host.call("verified").result["provision"]["next"].startswith("set engine_ollama_models_dir")
    assert (host.started, host.users) == ([], [])


def test_a_folder_of_an_earlier_user_is_given_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `remove`, or after the system was installed anew: the number is someone else's now."""
    host.call("present")
    (host.models / unit.MARK).unlink()
    host.call("present")
    # The mark, for a folder that an earlier version has created.
    assert (host.models / unit.MARK).is_file()
    given: list[str] = []
    monkeypatch.setattr(unit, "give_back", lambda root, owner: given.append(f"{root} {owner.user}"))
    monkeypatch.setattr(unit.Owner, "of", classmethod(lambda cls, _: cls(4242, 4242)))
    looked = host.call("present", check=True).result
    assert (looked["changed"], given) == (True, [])
    assert looked["diff"][0]["before"] == "owner 4242:4242\n"
    assert host.call("present").result["changed"]
    assert given == [f"{host.models} {os.getuid()}"]
    assert host.started == ["provision-job-ollama-ollama ensure"]


@pytest.mark.parametrize("mark", [True, False])
def test_without_a_record_the_mark_proves_whose_a_folder_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: bool
) -> None:
    monkeypatch.setattr(record, "STATE", tmp_path / "state")
    root = tmp_path / "models"
    (root / "blobs").mkdir(parents=True)
    if mark:
        (root / unit.MARK).write_text(unit.MARK_TEXT)
    daemon = unit.Owner.named("daemon")
    assert daemon
    monkeypatch.setattr(unit.Owner, "of", classmethod(lambda cls, _: cls(*daemon)))
    if mark:
        assert unit.strayed(root, USER) == daemon
        return
    with pytest.raises(Fault, match=r"belongs to daemon:.*, but Ollama runs as"):
        unit.strayed(root, USER)
    # What belongs to no one and contains nothing but models was Ollama's on an earlier system.
    monkeypatch.setattr(unit.Owner, "of", classmethod(lambda cls, _: cls(4242, 4242)))
    assert unit.strayed(root, USER) == (4242, 4242)
    (root / "photographs").mkdir()
    with pytest.raises(Fault, match="belongs to 4242:4242"):
        unit.strayed(root, USER)
