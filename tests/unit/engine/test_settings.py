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
from tests.unit.fakes import Said, Systemd

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


CAUSE: dict[str, Any] = {
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


FAMILY = {"get": "/api/tags", "field": "models.*.details.family"}
FORCED = {"setting": "slots", "meaning": "the family allows one", "next": "ask for one", "effective": "1"}


def caused(running: Running, requested: Any, *causes: dict[str, Any], **more: Any) -> settings.Setting:
    given = settings.Expected("slots", requested, sources=[PROCESS], **more)
    return settings.settle(given, [Cause(**cause) for cause in causes], running)


def runs_with(proc: Path, slots: int) -> None:
    """Let the runner have this number of slots."""
    words = ["llama-server", "-np", str(slots)]
    (proc / "11/cmdline").write_bytes("\0".join(words).encode() + b"\0")


@pytest.mark.parametrize(
    ("requested", "effective", "explained"), [(8, 1, True), (1, 5, False), (8, 5, False), (5, 2, False)]
)
def test_a_cause_is_shown_only_if_it_explains_the_very_figures(
    proc: Path, running: Any, requested: int, effective: int, explained: bool
) -> None:
    runs_with(proc, effective)
    log = 'msg="new model" embedding=false: model architecture mllama: no parallel'
    found = caused(running(log), requested, {**FORCED, "pattern": "model architecture .*parallel"})
    assert not found.is_right
    assert bool(found.cause) is explained
    assert bool(found.next_step) is explained


@pytest.mark.parametrize(("family", "explained"), [("qwen35", True), ("llama", False), (None, False)])
def test_what_the_engine_reports_of_a_model_can_be_the_cause(
    proc: Path, engine: Any, running: Any, family: str | None, explained: bool
) -> None:
    runs_with(proc, 1)
    engine.pages["/api/tags"] = {"models": [{"name": "org/model", "details": {"family": family}}]}
    found = caused(running(), 4, {**FORCED, "source": FAMILY, "among": ["mllama", "qwen35"]})
    assert (found.cause == "the family allows one (qwen35)") is explained
    assert bool(found.cause) is explained


@pytest.mark.parametrize(
    ("capabilities", "explained"), [(["embedding"], True), (["completion"], False), ([], False)]
)
def test_the_task_of_a_model_can_be_the_cause(
    proc: Path, engine: Any, running: Any, capabilities: list[str], explained: bool
) -> None:
    runs_with(proc, 1)
    engine.shown["/api/show"] = {"capabilities": capabilities}
    # What every model's log contains is no sign of it.
    found = caused(running("llama_context: embeddings = 0"), 4, {**FORCED, "task": "embed"})
    assert bool(found.cause) is explained


@pytest.fixture
def dropin(tmp_path: Path, systemd: Systemd, programs: Any) -> Callable[[str], Path]:
    """Give the unit a drop-in with this text."""

    def write(text: str) -> Path:
        path = tmp_path / "override.conf"
        path.write_text(text)
        before = systemd.control
        programs.add(
            "systemctl",
            lambda argv: Said(f"DropInPaths={path}\n") if "--property=DropInPaths" in argv else before(argv),
        )
        return path

    return write


def with_unit(running: Running) -> Running:
    return replace(running, unit="ollama@chat.service")


@pytest.mark.parametrize(
    "text",
    [
        "[Service]\nEnvironment=OLLAMA_NUM_PARALLEL=5\n",
        '[Service]\nEnvironment="A=1" "OLLAMA_NUM_PARALLEL=5"\n',
        "[Service]\nEnvironment=OLLAMA_NUM_PARALLEL=4\nEnvironment=OLLAMA_NUM_PARALLEL=5\n",
        "[Service]\nExecStart=\nExecStart=/opt/x serve --parallel 5\n",
    ],
)
def test_a_drop_in_that_sets_the_value_is_the_cause_and_has_its_path(
    proc: Path, running: Any, dropin: Any, text: str
) -> None:
    runs_with(proc, 5)
    path = dropin(text)
    made = with_unit(running("model architecture x does not support parallel requests"))
    found = caused(made, 1, CAUSE, set_by=["OLLAMA_NUM_PARALLEL", "--parallel"])
    assert found.cause.startswith(f"{path} sets ")
    assert found.cause.endswith(" to 5")
    assert found.next_step.startswith("remove that from the drop-in, then run `systemctl daemon-reload`")


@pytest.mark.parametrize(
    "text", ["[Service]\n# OLLAMA_NUM_PARALLEL=5\n", "[Service]\nEnvironment=MY_OLLAMA_NUM_PARALLEL=5\n", ""]
)
def test_a_drop_in_that_does_not_set_it_is_not_blamed(
    proc: Path, running: Any, dropin: Any, text: str
) -> None:
    runs_with(proc, 5)
    dropin(text)
    assert caused(with_unit(running()), 1, set_by=["OLLAMA_NUM_PARALLEL"]).cause == ""


def test_a_drop_in_with_another_value_than_the_effective_one_explains_nothing(
    proc: Path, running: Any, dropin: Any
) -> None:
    runs_with(proc, 2)
    dropin("[Service]\nEnvironment=OLLAMA_NUM_PARALLEL=5\n")
    found = caused(with_unit(running()), 1, set_by=["OLLAMA_NUM_PARALLEL"])
    assert (found.cause, found.next_step) == ("", "")


def test_a_file_that_a_drop_in_reads_is_looked_into(
    proc: Path, running: Any, dropin: Any, tmp_path: Path
) -> None:
    runs_with(proc, 5)
    (tmp_path / "own.env").write_text('OLLAMA_NUM_PARALLEL="5"\n')
    dropin(f"[Service]\nEnvironmentFile=-{tmp_path}/own.env\n")
    cause = caused(with_unit(running()), 1, set_by=["OLLAMA_NUM_PARALLEL"]).cause
    assert cause == f"{tmp_path}/own.env sets OLLAMA_NUM_PARALLEL to 5"


def test_a_drop_in_with_a_value_that_the_engine_refuses_is_named_beside_the_reason(
    proc: Path, running: Any, dropin: Any
) -> None:
    runs_with(proc, 1)
    path = dropin("[Service]\nEnvironment=OLLAMA_NUM_PARALLEL=many\n")
    refused = {
        "setting": "slots",
        "pattern": "invalid .*PARALLEL",
        "meaning": "not a number",
        "next": "correct it",
    }
    made = with_unit(running("invalid environment variable OLLAMA_NUM_PARALLEL"))
    found = caused(made, 4, refused, set_by=["OLLAMA_NUM_PARALLEL"])
    assert f"; {path} sets OLLAMA_NUM_PARALLEL to many" in found.cause
    assert found.next_step == "correct it"


@pytest.mark.parametrize(
    ("slots", "says"), [(4, ", shared by 4: 2048 for each if all are in use"), (1, ""), (0, "")]
)
def test_what_several_share_is_counted_for_each(engine: Any, running: Any, slots: int, says: str) -> None:
    engine.pages["/props"] = {"total_slots": slots, "n_ctx": 8192}
    source, sharers = {"get": "/props", "field": "n_ctx"}, {"get": "/props", "field": "total_slots"}
    for requested, said in ((None, "slots: 8192"), (4096, "slots: requested at least 4096, effective 8192")):
        given = settings.Expected("slots", requested, True, shared_by=sharers, sources=[source])
        assert settings.settle(given, [], running()).describe() == f"{said} (/props){says}"
