# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.systemd import UnitState
from ansible.module_utils.provision.jobs.sandbox import sandbox
from ansible.module_utils.provision.models import files, owners
from ansible.module_utils.provision.models.fetch import install, make_root
from ansible.module_utils.provision.models.files import KnownFile, Manifest, Wanted, hash_file, write_stamps

from provisioner.ansible.modules import model_store
from tests.unit.fakes import Systemd

GONE = UnitState()


class Module:
    """The part of AnsibleModule that is used."""

    def __init__(self, check_mode: bool = False, **params: Any) -> None:
        self.check_mode = check_mode
        self.params = params


@pytest.fixture
def units(systemd: Systemd) -> Systemd:
    systemd.after, systemd.journal = GONE, ["what the journal says"]
    return systemd


@pytest.fixture
def model(tmp_path: Path) -> dict[str, Any]:
    directory = tmp_path / "models" / "huggingface" / "org--name" / "main"
    named = {"source": "huggingface", "model": "org/name", "revision": "main", "services": ["chat"]}
    return {**named, "include": [], "exclude": [], "allow_unsafe": False, "directory": str(directory)}


def publish(model: dict[str, Any]) -> Path:
    directory = Path(model["directory"])
    directory.mkdir(parents=True)
    (directory / "a.gguf").write_bytes(b"weights")
    found = hash_file(directory / "a.gguf")
    Manifest(Wanted.of(model), "c0ffee", {"a.gguf": KnownFile(7, found.sha256, "hub")}).write(directory)
    write_stamps(directory, ["a.gguf"])
    return directory


def parameters(tmp_path: Path, model: dict[str, Any], **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        name: option.get("default") for name, option in model_store.ARGUMENTS.items() if name != "state"
    }
    folders = {name: str(tmp_path / name) for name in ("programs", "runtime", "cache", "settings")}
    root = str(tmp_path / "models")
    return {
        **given,
        **folders,
        "root": root,
        "model": model,
        "models": [model],
        "run": "1.5",
        "poll": 0,
        "deep": False,
        **changes,
    }


def inspect(tmp_path: Path, models: list[dict[str, Any]], *, check_mode: bool = False) -> dict[str, Any]:
    given: Any = Module(check_mode, **parameters(tmp_path, {}, models=models))
    return model_store.inspect(given)


def test_a_model_that_is_there_is_not_missing(tmp_path: Path, model: dict[str, Any]) -> None:
    assert [m["reason"] for m in inspect(tmp_path, [model])["missing"]] == ["it does not exist"]
    publish(model)
    assert inspect(tmp_path, [model])["missing"] == []


def test_models_of_a_group_whose_number_changed_are_given_back(
    tmp_path: Path, model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `remove`, which keeps models and not their group, or with the data disk of an older system."""
    directory, given = publish(model), list[str]()
    numbers = SimpleNamespace(gr_gid=os.getgid() + 1, gr_name="provision")
    monkeypatch.setattr("grp.getgrnam", lambda _: numbers)

    def chown(path: str, user: int, group: int) -> None:
        assert (user, group) == (0, numbers.gr_gid)
        # As a change of owner does, which must not look like a change of content.
        found = Path(path).stat()
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        given.append(str(Path(path).relative_to(tmp_path)))

    monkeypatch.setattr("os.chown", chown)
    looked = inspect(tmp_path, [model], check_mode=True)
    assert (looked["changed"], looked["missing"], given) == (True, [], [])
    found = inspect(tmp_path, [model])
    assert (found["changed"], found["missing"]) == (True, [])
    assert f"{directory}/a.gguf: root:provision" in found["diff"][0]["after"]
    assert set(given[:4]) == {"models", "models/huggingface", "models/huggingface/org--name", given[3]}
    assert {Path(path).name for path in given[3:]} == {
        "main",
        "a.gguf",
        ".provision-manifest.json",
        ".provision-stamps.json",
    }


def test_stamps_that_are_written_again_stay_the_readers(
    model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deep look and Ollama's links renew them; the next run has nothing to give back then."""
    directory, given = publish(model), list[int]()
    monkeypatch.setattr("os.fchown", lambda _file, _user, group: given.append(group))
    files.write_stamps(directory, ["a.gguf"])
    assert given == [directory.stat().st_gid]


def test_owners_that_the_file_system_does_not_let_go_are_a_warning(
    tmp_path: Path, model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(model)
    monkeypatch.setattr("grp.getgrnam", lambda _: SimpleNamespace(gr_gid=os.getgid() + 1))

    def refuse(path: str, *_: int) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr("os.chown", refuse)
    found = inspect(tmp_path, [model])
    assert (found["changed"], found["missing"]) == (False, [])
    assert "cannot be given back: " in found["provision"]["warning"][0]


def test_directories_that_the_store_shares_or_has_not_filled_keep_their_owner(
    tmp_path: Path, model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grp.getgrnam", lambda _: SimpleNamespace(gr_gid=os.getgid() + 1))
    root, directory = tmp_path / "models", publish(model)
    (root / "photographs").mkdir()
    assert root not in owners.strayed(root, directory)
    (root / "photographs/.provision").touch()
    assert root in owners.strayed(root, directory)
    assert root / "huggingface" in owners.strayed(root, directory)
    (directory / ".provision-manifest.json").unlink()
    assert owners.strayed(root, directory) == []


@pytest.mark.parametrize(("names", "fault"), [((), "which does not contain a"), (("a.safetensors",), "")])
def test_a_directory_of_the_user_needs_weights(
    tmp_path: Path, model: dict[str, Any], names: tuple[str, ...], fault: str
) -> None:
    own = {**model, "source": "path", "directory": str(tmp_path)}
    for name in names:
        (tmp_path / name).touch()
    if fault:
        with pytest.raises(Fault, match=fault):
            inspect(tmp_path, [own])
    else:
        assert inspect(tmp_path, [own])["missing"] == []
    with pytest.raises(Fault, match="not a directory"):
        inspect(tmp_path, [{**own, "directory": str(tmp_path / "nowhere")}])


def test_models_of_ollama_are_left_to_it(tmp_path: Path, model: dict[str, Any], units: Systemd) -> None:
    own = {**model, "source": "ollama", "model": "smollm2:135m", "directory": ""}
    assert inspect(tmp_path, [own])["missing"] == []
    result = model_store.verify(Module(**parameters(tmp_path, own)))
    assert result["provision"]["rungs"] == []
    assert units.started == []


def test_check_mode_says_what_it_would_fetch_and_starts_nothing(
    tmp_path: Path, model: dict[str, Any], units: Systemd
) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = model_store.fetch(Module(check_mode=True, **parameters(tmp_path, model)))
    assert result["changed"] is True
    assert "org/name@main" in result["diff"]["after"]
    assert units.started == []
    assert sorted(tmp_path.rglob("*")) == before


def test_starts_one_unit_with_orders_that_only_root_reads(
    tmp_path: Path, model: dict[str, Any], units: Systemd
) -> None:
    units.after = UnitState(active="active", invocation="1")
    result = model_store.fetch(Module(**parameters(tmp_path, model, token_file="/etc/t")))
    assert result["finished"] is False
    assert result["changed"] is False
    ((name, argv, _),) = units.started
    assert name == model_store.unit_of(model["directory"])
    assert argv[2] == "fetch"
    spec = Path(argv[3])
    assert spec.stat().st_mode & 0o777 == 0o600
    assert json.loads(spec.read_text())["directory"] == model["directory"]


def test_the_unit_that_fetches_is_fenced_in_and_its_root_is_there(
    tmp_path: Path, model: dict[str, Any], units: Systemd
) -> None:
    units.after = UnitState(active="active", invocation="1")
    root = tmp_path / "models"
    units.work = root.rmdir  # it is there, and empty, when the unit starts
    model_store.fetch(Module(**parameters(tmp_path, model)))
    written = [f'"{root}"', f'"-{tmp_path}/runtime"', f'"-{tmp_path}/cache"']
    assert units.started[0].properties["ReadWritePaths"] == " ".join(written)
    assert units.started[0].properties["ProtectSystem"] == "full"
    assert "CAP_SYS_ADMIN" not in str(units.started[0].properties["CapabilityBoundingSet"])


@pytest.mark.parametrize(
    ("root", "private"),
    [("/srv/models", True), ("/tmp", False), ("/tmp/models", False), ("/var/tmp/m", False), ("/tmpfs", True)],
)
def test_a_store_among_temporary_files_stays_in_sight(root: str, private: bool) -> None:
    given = {"root": root, "runtime": "/run/provision", "cache": "/var/cache/provision"}
    assert sandbox(given)["PrivateTmp"] is private


def test_an_odd_path_is_one_word() -> None:
    given = {"root": '/srv/a "b', "runtime": "/run/provision", "cache": "/var/cache"}
    assert sandbox(given)["ReadWritePaths"] == r'"/srv/a \"b" "-/run/provision" "-/var/cache"'


def test_missing_directories_above_the_root_let_everybody_pass(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        make_root(tmp_path / "data" / "large" / "models")
    finally:
        os.umask(before)
    assert mode(tmp_path / "data") == mode(tmp_path / "data/large") == 0o755
    assert mode(tmp_path / "data/large/models") == 0o750


def test_a_root_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    root = tmp_path / "models"
    root.mkdir()
    root.chmod(0o711)
    make_root(root)
    assert mode(root) == 0o711


def mode(path: Path) -> int:
    """Return the permissions of a directory."""
    return path.stat().st_mode & 0o777


def test_reports_the_progress_of_the_unit(tmp_path: Path, model: dict[str, Any], units: Systemd) -> None:
    units.state = UnitState(active="active", invocation="1")
    told = {"label": "org/name@main", "done_bytes": 5, "total_bytes": 7, "rate_bytes_s": 1}
    answer(tmp_path, model, {"state": "running", "progress": told})
    result = model_store.fetch(Module(**parameters(tmp_path, model)))
    assert result["provision"]["progress"] == told
    assert units.started == []


def test_a_finished_unit_is_a_change(tmp_path: Path, model: dict[str, Any], units: Systemd) -> None:
    def work() -> None:
        publish(model)
        answer(tmp_path, model, {"state": "done", "changed": True, "fetched": ["a.gguf"]})

    units.work = work
    result = model_store.fetch(Module(**parameters(tmp_path, model)))
    assert (result["finished"], result["changed"], result["fetched"]) == (True, True, ["a.gguf"])


def test_a_unit_that_ended_between_two_looks_is_not_started_again(
    tmp_path: Path, model: dict[str, Any], units: Systemd
) -> None:
    publish(model)
    answer(tmp_path, model, {"state": "done", "changed": True, "fetched": ["a.gguf"]})
    result = model_store.fetch(Module(**parameters(tmp_path, model)))
    assert (result["finished"], result["changed"]) == (True, True)
    assert units.started == []


def test_a_failure_speaks_in_the_words_of_the_unit(
    tmp_path: Path, model: dict[str, Any], units: Systemd
) -> None:
    units.after = UnitState(active="failed", result="exit-code", exit_status=1, invocation="42")
    answer(
        tmp_path, model, {"state": "failed", "message": "no disk", "next": "free some", "invocation": "42"}
    )
    with pytest.raises(Fault, match="no disk") as caught:
        model_store.fetch(Module(**parameters(tmp_path, model)))
    assert caught.value.next_step == "free some"


def test_a_crash_shows_the_journal(tmp_path: Path, model: dict[str, Any], units: Systemd) -> None:
    units.after = UnitState(active="failed", result="signal", exit_status=9, invocation="43")
    answer(tmp_path, model, {"state": "failed", "message": "old news", "next": "", "invocation": "42"})
    with pytest.raises(Fault, match=r"failed \(signal, exit 9\): what the journal says"):
        model_store.fetch(Module(**parameters(tmp_path, model)))


def test_verification_hashes_once_in_a_run(tmp_path: Path, model: dict[str, Any], units: Systemd) -> None:
    directory = publish(model)
    found = {"status": "passed", "evidence": "1 files", "next": None}
    path = tmp_path / "runtime" / f"{model_store.VERIFY_UNIT}.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"state": "done", "run": "1.5", "results": {str(directory): found}}))
    result = model_store.verify(Module(**parameters(tmp_path, model, deep=True)))
    assert result["provision"]["rungs"] == [{"service": "chat", "rung": "files", **found}]
    assert units.started == []


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_glance_reads_nothing_and_sees_what_has_changed(
    tmp_path: Path, model: dict[str, Any], units: Systemd, check_mode: bool
) -> None:
    directory = publish(model)

    def look() -> dict[str, Any]:
        # Check mode reads nothing, even when asked to.
        module = Module(check_mode=check_mode, **parameters(tmp_path, model, deep=check_mode))
        return model_store.verify(module)

    (found,) = look()["provision"]["rungs"]
    assert found["status"] == "passed"
    assert (
        "unchanged since the sha256 of each was checked; `provision verify --deep` reads them"
        in found["evidence"]
    )
    weights = next(path for path in directory.iterdir() if not path.name.startswith("."))
    os.utime(weights)
    (found,) = look()["provision"]["rungs"]
    assert (found["status"], found["evidence"]) == (
        "failed",
        f"{weights} changed since the hashes were checked",
    )
    assert "provision apply" in found["next"]
    assert units.started == []


def test_a_glance_names_files_that_are_not_in_the_manifest(tmp_path: Path, model: dict[str, Any]) -> None:
    (publish(model) / "extra.bin").touch()
    (found,) = model_store.verify(Module(**parameters(tmp_path, model)))["provision"]["rungs"]
    assert (found["status"], "extra.bin" in found["evidence"]) == ("failed", True)


def test_hashes_of_another_run_are_not_taken(tmp_path: Path, model: dict[str, Any], units: Systemd) -> None:
    directory = publish(model)
    path = tmp_path / "runtime" / f"{model_store.VERIFY_UNIT}.json"
    path.parent.mkdir()
    found = {"status": "passed", "evidence": "1 files", "next": None}

    def hashed(run: str) -> None:
        path.write_text(json.dumps({"state": "done", "run": run, "results": {str(directory): found}}))

    # A job of another run is at work: this call waits for its end, the next one starts anew.
    units.state = UnitState(active="active", invocation="1")
    hashed("2.5")
    assert model_store.verify(Module(**parameters(tmp_path, model, deep=True)))["finished"] is False
    assert units.started == []
    units.state = GONE
    units.work = lambda: hashed("1.5")
    result = model_store.verify(Module(**parameters(tmp_path, model, deep=True)))
    assert (len(units.started), result["finished"]) == (1, True)
    assert result["provision"]["rungs"][0]["status"] == "passed"


def test_a_model_without_a_result_has_not_passed(
    tmp_path: Path, model: dict[str, Any], units: Systemd
) -> None:
    publish(model)
    path = tmp_path / "runtime" / f"{model_store.VERIFY_UNIT}.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"state": "done", "run": "1.5", "results": {}}))
    failed = model_store.verify(Module(**parameters(tmp_path, model, deep=True)))
    assert failed["failed"]
    assert "its files were not hashed" in failed["msg"]
    result = model_store.verify(Module(check_mode=True, **parameters(tmp_path, model, deep=True)))
    assert result["provision"]["rungs"][0]["status"] == "passed"
    assert units.started == []


def test_a_failed_rung_fails_and_keeps_the_others(tmp_path: Path, model: dict[str, Any]) -> None:
    own = {**model, "source": "path", "directory": str(tmp_path), "services": ["own"]}
    result = model_store.verify(Module(**parameters(tmp_path, model, models=[model, own])))
    assert result["failed"]
    assert [rung["status"] for rung in result["provision"]["rungs"]] == ["failed", "not applicable"]
    assert "it does not exist" in result["msg"]
    assert "provision apply" in result["provision"]["next"]


def test_removal_leaves_models_unless_asked(tmp_path: Path, model: dict[str, Any]) -> None:
    directory = publish(model)
    partial = directory.with_name("v2.partial")
    partial.mkdir()
    foreign = directory.parent / "mine"
    foreign.mkdir()
    program = install(tmp_path / "programs")
    token = tmp_path / "settings" / "model_store_huggingface.token"
    token.parent.mkdir()
    token.write_text("secret")
    module = Module(**parameters(tmp_path, model), check_mode=True)
    assert model_store.purge(module)["removed"] == [str(program), str(token)]
    assert program.exists()
    module.check_mode = False
    assert model_store.purge(module)["changed"] is True
    assert not program.exists()
    assert not token.exists()
    assert directory.exists()
    module.params["purge"] = True
    assert set(model_store.purge(module)["removed"]) == {str(directory), str(partial)}
    assert not directory.exists()
    assert foreign.exists()
    assert model_store.purge(module)["changed"] is False


def test_the_program_is_one_file_and_always_the_same(tmp_path: Path) -> None:
    program = install(tmp_path)
    written = program.stat().st_mtime_ns
    assert install(tmp_path) == program
    assert program.stat().st_mtime_ns == written
    assert install(tmp_path / "other").read_bytes() == program.read_bytes()
    ran = subprocess.run(
        [sys.executable, "-I", str(program), "verify", "/nowhere"], capture_output=True, check=False
    )
    assert b"error: /nowhere: No such file or directory" in ran.stderr


def answer(tmp_path: Path, model: dict[str, Any], body: dict[str, Any]) -> None:
    """Write what a unit would leave."""
    path = tmp_path / "runtime" / f"{model_store.unit_of(model['directory'])}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(body))
