# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import pytest

from provisioner.cli import main as entry
from provisioner.cli import work
from provisioner.fleet import engines, inventory, spec
from provisioner.runs import run, rundir
from provisioner.runs.report import Cell, HostReport, Report
from tests.cli_calls import call

CASES = Path(__file__).resolve().parents[2] / "data/inventories"


@pytest.mark.parametrize("command", [("plan",), ("apply", "--yes"), ("verify",), ("remove", "--yes")])
def test_a_wrong_inventory_is_refused_before_any_connection(
    command: tuple[str, ...], connections: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mistakes = CASES / "mistakes.ini"
    assert call(*command, mistakes) == 2
    said = capsys.readouterr().err
    assert (
        f"{len((CASES / 'mistakes.expected').read_text().splitlines())} problems; no host was contacted"
        in said
    )
    assert f"{mistakes}:5 (host misspelt-word)\n    serve_modle = a/b: is not a variable of this tool" in said
    assert not connections.exists()


def test_a_secret_in_the_wrong_place_is_refused_and_not_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "leak.ini"
    words = (
        'serve_api_key=canary-1 model_store_huggingface_token=canary-2 serve_env=\'{"HF_TOKEN": "canary-3"}\''
    )
    path.write_text(f"gpu1 serve_engine=vllm serve_model=a/b {words} serve_args='[\"--api_key=canary-4\"]'\n")
    assert call("plan", path) == 2
    said = capsys.readouterr()
    assert "canary" not in said.out + said.err
    for named in ("serve_api_key:", "model_store_huggingface_token:", "HF_TOKEN", "--api-key"):
        assert named in said.err


def test_plan_contacts_nobody_and_prints_one_document(
    good: Path, connections: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("plan", good, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["hosts"][0]["services"][0]["model"] == "a/b"
    assert not connections.exists()


def test_plan_is_readable(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", good) == 0
    said = capsys.readouterr().out
    assert "1 host, 1 service: preflight → host → gpu → models → serve → verify" in said
    assert re.search(r"^\S+ +vllm +a/b ", said, re.MULTILINE)


@pytest.mark.parametrize("word", ["serve_engine", "serve_services"])
def test_plan_names_no_service_missing_that_is_decided_at_run_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    path = tmp_path / "hosts.yml"
    given = {word: "{{ lookup('env', 'CHOICE') }}", "serve_model": "a/b"}
    path.write_text(json.dumps({"all": {"hosts": {"gpu1": given}}}))
    assert call("plan", path) == 0
    said = capsys.readouterr().out
    assert "decided at run time" in said
    assert "no service" not in said


def test_plan_says_once_what_a_profile_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tuned.ini"
    hosts = "gpu[1:5] ansible_host='{{ inventory_hostname }}'"
    words = "serve_engine=vllm\nserve_model=a/b\nserve_profile=memory\nengine_vllm_max_num_seqs=4\n"
    path.write_text(f"[gpu]\n{hosts}\n[gpu:vars]\n{words}")
    assert call("plan", path) == 0
    said = capsys.readouterr().out
    assert "vllm.service on gpu1, gpu2, gpu3 and 2 more\n" in said
    assert said.count("  profile memory sets engine_vllm_enforce_eager = true\n") == 1
    assert "  engine_vllm_max_num_seqs = 4 is set in the inventory\n" in said


@pytest.mark.parametrize(("tasks", "code", "says"), [(0, 2, "before any host was"), (3, 1, "during the run")])
def test_ansible_that_dies_is_told_by_how_far_it_came(  # noqa: PLR0917 - fixtures
    good: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tasks: int,
    code: int,
    says: str,
) -> None:
    report = Report(None, None, False, ("Host",), (HostReport("one", (Cell("Host", "ok", tasks=tasks),)),))

    def died(_work: object, _request: object, kept: rundir.RunDir, _only: object) -> tuple[object, object]:
        rundir.write(kept.log, "[ERROR]: A worker was found in a dead state\n")
        return report, run.Outcome(returncode=1, interrupted=False)

    abandoned = rundir.root() / "20200101-000000000-aaaa"
    abandoned.mkdir(parents=True)
    monkeypatch.setattr(work.Work, "_execute", died)
    assert call("apply", good, "--yes") == code
    assert not abandoned.exists()
    assert f"Ansible stopped {says}" in capsys.readouterr().err


def test_a_removal_needs_consent(good: Path, connections: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("remove", good) == 2
    assert "gpu1: remove vllm.service" in capsys.readouterr().err
    assert not connections.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("plan", "/nowhere.ini"), "no inventory at /nowhere.ini"),
        (("plan", CASES / "mistakes.ini", "--phase", "sreve"), "problems"),
        (("engines", "vlm"), "did you mean vllm?"),
        (("runs", "show", "nothing"), "there are no runs"),
        (("aply",), "No such command"),
    ],
)
def test_wrong_usage_is_exit_code_2_with_a_hint(
    arguments: tuple[object, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 2
    assert says in capsys.readouterr().err


def test_a_bug_is_exit_code_3_with_its_log(
    good: Path, xdg: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(inventory, "load", broken)
    assert call("plan", good) == 3
    (log,) = (xdg / "state/provision").glob("bug-*.log")
    assert str(log) in capsys.readouterr().err
    assert "boom" in log.read_text()


@pytest.mark.parametrize(
    ("number", "step"),
    [(errno.ENOSPC, "free disk space"), (errno.EACCES, "XDG_STATE_HOME"), (errno.EMFILE, "ulimit -n")],
)
def test_what_this_machine_refuses_is_no_bug(
    good: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], number: int, step: str
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "/some/file")

    monkeypatch.setattr(inventory, "load", refused)
    monkeypatch.setattr(entry, "_drop_output", lambda: None)
    assert call("plan", good) == 1
    said = capfd.readouterr().err
    assert f"/some/file: {os.strerror(number)}" in said
    assert step in said


def test_a_record_that_cannot_be_kept_is_told_before_any_host_is_contacted(
    good: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nothing")
    assert call("apply", good, "--yes") == 1
    assert "cannot create a run folder in /proc/nothing" in capsys.readouterr().err


def test_engines_lists_variables_with_their_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("engines", "vllm") == 0
    said = capsys.readouterr().out
    assert "engine_vllm_max_model_len" in said
    assert "serve_model_source" in said
    assert "profile latency sets engine_vllm_performance_mode = interactivity" in said


def test_engines_shows_descriptions_without_the_marks_of_ansible(capsys: pytest.CaptureFixture[str]) -> None:
    for engine in engines.load():
        assert call("engines", engine) == 0
        assert not re.search(r"\b[CVO]\(", capsys.readouterr().out)


def test_engines_as_json_keep_the_keys_of_earlier_versions(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("engines", "ollama", "--json") == 0
    (engine,) = json.loads(capsys.readouterr().out)
    assert engine["environment"]["words"]["OLLAMA_NUM_PARALLEL"] == "engine_ollama_num_parallel"


def test_init_writes_an_inventory_that_plan_accepts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new.ini"
    assert call("init", path, "--host", "gpu1=192.0.2.1:2222", "--model", "a/b", "--user", "ops") == 0
    (host,) = spec.load(inventory.load(str(path))).hosts
    assert (host.name, host.address, host.port) == ("gpu1", "192.0.2.1", 2222)
    assert host.services[0].model.name == "a/b"
    assert call("init", path, "--host", "gpu2", "--model", "a/b") == 2
    assert "--force" in capsys.readouterr().err


def test_init_refuses_answers_that_make_no_inventory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("init", tmp_path / "new.ini", "--host", "gpu1", "--model", "nonsense") == 2
    assert "must be owner/name" in capsys.readouterr().err
    assert list(tmp_path.glob("*.ini")) == []


def test_init_offers_the_sources_of_the_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = ("--host", "gpu1", "--model", "a/b", "--engine", "vllm", "--source", "ollama")
    assert call("init", tmp_path / "new.ini", *answers) == 2
    assert "it is one of huggingface, modelscope, path" in capsys.readouterr().err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert "provision, version" in capsys.readouterr().out
