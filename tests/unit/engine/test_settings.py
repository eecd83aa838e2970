# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.engine import processes, settings
from ansible.module_utils.provision.engine.causes import Cause
from ansible.module_utils.provision.engine.client import Engine
from ansible.module_utils.provision.engine.processes import Process, members
from ansible.module_utils.provision.engine.settings import Running

from tests.unit.engine.conftest import SERVING
from tests.unit.fakes import Systemd

GROUP = "/system.slice/system-ollama.slice/ollama@chat.service"
STATUS = replace(SERVING, control_group=GROUP)
RUNNER = ["/opt/ollama/lib/ollama/llama-server", "-c", "12288", "-np", "3", "--flash-attn=on", "--no-webui"]


@pytest.fixture(autouse=True)
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay out /proc with an engine, its runner, and somebody else's runner."""
    for pid, group, words in (
        (10, GROUP, ["/opt/ollama/bin/ollama", "serve"]),
        (11, GROUP, RUNNER),
        (12, "/system.slice/other.service", ["/usr/bin/llama-server", "-np", "64"]),
    ):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "cgroup").write_text(f"0::{group}\n")
        (folder / "cmdline").write_bytes("\0".join(words).encode() + b"\0")
    (tmp_path / "13").mkdir()  # ended while it was read
    monkeypatch.setattr(processes, "PROC", tmp_path)
    return tmp_path


@pytest.fixture
def running(engine: Any, systemd: Systemd) -> Callable[..., Running]:
    def make(*journal: str) -> Running:
        systemd.journal = list(journal)
        return Running(Engine(engine.url, engine.key), "org/model", STATUS)

    return make


def one(running: Running, *sources: dict[str, Any], requested: Any = None, **more: Any) -> settings.Setting:
    given = settings.Expected("slots", requested, sources=list(sources), **more)
    return settings.settle(given, [Cause(**CAUSE)], running)


CAUSE = {
    "setting": "slots",
    "pattern": "model architecture .* parallel",
    "meaning": "the model cannot answer in parallel",
    "next": "set engine_ollama_num_parallel: 1",
}
PROCESS = {"process": ["--parallel", "-np"]}
JOURNAL = {"journal": r"n_seq_max\s*=\s*(\d+)"}
PAGE = {"get": "/props", "field": "total_slots"}


def test_reads_the_command_lines_of_the_units_own_processes() -> None:
    assert members(GROUP) == [
        Process(10, ("/opt/ollama/bin/ollama", "serve")),
        Process(11, tuple(RUNNER)),
    ]
    assert members("") == []


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("x --parallel 3", "3"),
        ("x --parallel=3", "3"),
        ("x -np 3 --parallel 4", "4"),
        ("x --parallel -1", "-1"),
        ("x --parallel --jinja", "true"),
        ("x --parallel", "true"),
        ("--parallel 3", ""),
        ("x --parallels 3", ""),
    ],
)
def test_reads_a_flag_in_both_spellings(words: str, value: str) -> None:
    assert Process(1, tuple(words.split())).flag(["--parallel", "-np"]) == value


def test_says_what_was_asked_and_what_the_process_runs_with(running: Any) -> None:
    found = one(running(), PROCESS, requested=3)
    assert found.is_right
    assert found.describe() == "slots: requested 3, effective 3 (--parallel of llama-server)"


def test_the_first_source_that_shows_something_wins(engine: Any, running: Any) -> None:
    engine.pages["/props"] = {"total_slots": 2}
    assert one(running(), PAGE, PROCESS).describe() == "slots: 2 (/props)"
    del engine.pages["/props"]
    assert one(running("llama: n_seq_max = 5"), PAGE, PROCESS, JOURNAL).describe().startswith("slots: 3 (")
    said = running("n_seq_max = 5", "n_seq_max = 4")
    assert one(said, {"process": ["--absent"]}, JOURNAL).describe() == "slots: 4 (its journal)"


def test_a_page_is_asked_with_the_key_and_only_once(engine: Any, running: Any) -> None:
    engine.key, engine.pages["/props"] = "sk-test", {"total_slots": 2, "n_ctx": 4096}
    made = running()
    assert made.field("/props", "total_slots") == 2
    engine.pages["/props"] = {}
    assert made.field("/props", "n_ctx") == 4096


def test_one_value_divided_by_another(running: Any) -> None:
    source = {"process_ratio": [["-c", "--ctx-size"], ["-np", "--parallel"]]}
    assert one(running(), source, requested=4096).describe() == (
        "slots: requested 4096, effective 4096 (-c of llama-server)"
    )
    assert one(running(), {"process_ratio": [["-c"], ["--absent"]]}).effective is None


def test_another_value_is_wrong_and_explained_by_the_journal(running: Any) -> None:
    made = running("msg=x model architecture mllama does not support parallel requests")
    found = one(made, PROCESS, requested=8)
    assert not found.is_right
    assert found.describe() == (
        "slots: requested 8, effective 3 (--parallel of llama-server), "
        "because the model cannot answer in parallel (model architecture mllama does not support parallel)"
    )
    assert found.next_step == CAUSE["next"]


def test_what_nothing_shows_is_not_taken_for_granted(running: Any) -> None:
    found = one(running(), PAGE, requested=8)
    assert not found.is_right
    assert found.describe() == "slots: requested 8, and nothing shows what took effect"
    assert one(running(), PAGE).is_right


@pytest.mark.parametrize(
    ("requested", "more", "right"),
    [
        ("3", {}, True),
        (3.0, {}, True),
        (4, {}, False),
        (2, {}, False),
        (2, {"at_least": True}, True),
        (4, {"at_least": True}, False),
        ("", {}, True),
    ],
)
def test_compares_by_value(running: Any, requested: Any, more: dict[str, Any], right: bool) -> None:
    assert one(running(), PROCESS, requested=requested, **more).is_right is right


@pytest.mark.parametrize(
    ("requested", "right"), [(True, True), ("on", True), (False, False), ("auto", False)]
)
def test_on_is_true(running: Any, requested: Any, right: bool) -> None:
    assert one(running(), {"process": ["--flash-attn"]}, requested=requested).is_right is right


def test_processes_that_differ_are_told_apart_by_what_they_serve(proc: Path, running: Any) -> None:
    (proc / "14").mkdir()
    (proc / "14/cgroup").write_text(f"0::{GROUP}\n")
    (proc / "14/cmdline").write_bytes(b"llama-server\0--model\0/blobs/sha256-abc\0-np\0001\0")
    assert one(running(), PROCESS, requested=3).describe() == (
        "slots: requested 3, effective 3 and 1 (--parallel of llama-server)"
    )
    assert one(running(), {**PROCESS, "of": "sha256-abc"}, requested=1).is_right


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("models.*.size", 7),
        ("models.0.size", 5),
        ("models.9.size", None),
        ("models.*", {"name": "org/model", "size": 7}),
        ("total.x", None),
        ("total", 3),
        ("absent.deep", None),
    ],
)
def test_finds_a_place_in_a_document(place: str, value: Any) -> None:
    document = {"models": [{"name": "other", "size": 5}, {"name": "org/model", "size": 7}], "total": 3}
    assert settings.pick(document, place, "org/model") == value
