# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ANSWER = b'{"usage": {"completion_tokens": 1}}'


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def places(gate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay out a host: a unit with its environment, and a model."""
    for name in ("UNITS", "SETTINGS", "RUN"):
        monkeypatch.setattr(gate, name, tmp_path / name.lower())
        (tmp_path / name.lower()).mkdir()
    (tmp_path / "units" / "vllm.service").write_text("[Service]\n")
    (tmp_path / "settings" / "vllm.env").write_text('A="1"\n')
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    return tmp_path


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_names_the_owner_of_a_taken_port(gate: ModuleType, listening: int, address: str) -> None:
    comm = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
    assert gate.port_owner(address, listening) == f"{comm} (pid {os.getpid()})"


def test_finds_no_owner_on_another_address_or_port(gate: ModuleType, listening: int) -> None:
    assert gate.port_owner("127.0.0.2", listening) == ""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, so nobody else gets it, and not listening
        assert gate.port_owner("127.0.0.1", unused.getsockname()[1]) == ""


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("0.0.0.0", "10.0.0.1", True),
        ("::", "10.0.0.1", True),
        ("::", "::1", True),
        ("0.0.0.0", "::1", False),
        ("127.0.0.1", "10.0.0.1", False),
        ("::1", "::1", True),
    ],
)
def test_knows_which_addresses_exclude_each_other(
    gate: ModuleType, first: str, second: str, clash: bool
) -> None:
    assert gate._overlap(first, second) is clash
    assert gate._overlap(second, first) is clash


def test_reads_addresses_of_both_families(gate: ModuleType) -> None:
    assert gate._address("0100007F") == "127.0.0.1"
    assert gate._address("00000000000000000000000001000000") == "::1"
    assert gate._address("0000000000000000FFFF00000100007F") == "127.0.0.1"


def test_preflight_records_what_the_engine_starts_with(gate: ModuleType, places: Path) -> None:
    arguments = ["--unit", "vllm.service", "--port", "1", "--model-dir", str(places / "model")]
    assert gate.main(["preflight", *arguments]) == 0
    recorded = places / "run" / "started" / "vllm.json"
    assert json.loads(recorded.read_text()) == gate.signature("vllm.service", str(places / "model"))
    assert recorded.stat().st_mode & 0o777 == 0o600
    assert recorded.parent.stat().st_mode & 0o777 == 0o755


def test_preflight_makes_its_directories_whatever_the_umask(
    gate: ModuleType, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "RUN", places / "fresh")
    before = os.umask(0o077)
    try:
        assert gate.main(["preflight", "--unit", "vllm.service", "--port", "1"]) == 0
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in (places / "fresh", places / "fresh" / "started")]
    assert modes == [0o755, 0o755]


def test_an_error_of_the_system_is_one_line(
    gate: ModuleType, places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (places / "run" / "started").write_text("in the way")
    assert gate.main(["preflight", "--unit", "vllm.service", "--port", "1"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("preflight failed: ")
    assert said.count("\n") == 1


def test_a_link_to_nowhere_is_recorded_as_missing(gate: ModuleType, places: Path) -> None:
    link = places / "model" / "tokenizer.json"
    link.symlink_to(places / "nowhere")
    dangling = gate.signature("vllm.service", str(places / "model"))["model files"]
    (places / "nowhere").write_text("{}")
    assert gate.signature("vllm.service", str(places / "model"))["model files"] != dangling
    assert gate._size_and_time(places / "model" / "absent") == (-1, 0)


def test_preflight_refuses_a_taken_port(
    gate: ModuleType, places: Path, listening: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate.main(["preflight", "--unit", "vllm.service", "--port", str(listening)]) == 1
    assert f"port {listening} is taken by" in capsys.readouterr().err
    assert not (places / "run" / "started" / "vllm.json").exists()


def _change_unit(places: Path) -> None:
    (places / "units" / "vllm.service").write_text("[Service]\nUser=other\n")


def _change_environment(places: Path) -> None:
    (places / "settings" / "vllm.env").write_text('A="2"\n')


def _add_key(places: Path) -> None:
    (places / "settings" / "vllm.key").write_text('K="secret"\n')


def _replace_weights(places: Path) -> None:
    os.utime(places / "model" / "model.safetensors", ns=(1, 1))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (_change_unit, "unit file"),
        (_change_environment, "environment"),
        (_add_key, "API key"),
        (_replace_weights, "model files"),
    ],
)
def test_a_change_shows_in_its_own_part(gate: ModuleType, places: Path, change: Any, part: str) -> None:
    before = gate.signature("vllm.service", str(places / "model"))
    change(places)
    after = gate.signature("vllm.service", str(places / "model"))
    assert [name for name in before if before[name] != after[name]] == [part]


def test_hidden_files_are_no_part_of_the_model(gate: ModuleType, places: Path) -> None:
    before = gate.signature("vllm.service", str(places / "model"))
    (places / "model" / ".manifest.json").write_text("{}")
    (places / "model" / ".cache").mkdir()
    (places / "model" / ".cache" / "file").write_text("")
    assert gate.signature("vllm.service", str(places / "model")) == before


def test_an_engine_that_keeps_its_models_itself_has_no_model_files(
    gate: ModuleType, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(places)
    before = gate.signature("vllm.service", "")
    (places / "new").write_text("in the working directory")
    assert gate.signature("vllm.service", "") == before
    assert before["model files"] == "none"


def _ready(gate: ModuleType, url: str, *more: str, timeout: float = 0.2) -> int:
    words = ["ready", "--url", url, "--model", "org/model", "--timeout", str(timeout), *more]
    status: int = gate.main(words)
    return status


def test_ready_when_a_token_was_generated(gate: ModuleType, engine: Any) -> None:
    assert _ready(gate, engine.url) == 0
    assert engine.requests[0][1]["max_tokens"] == 1


def test_ready_sends_the_key_of_its_environment(
    gate: ModuleType, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.key = "sk-test"
    monkeypatch.setenv("THE_KEY", "sk-test")
    assert _ready(gate, engine.url, "--key-variable", "THE_KEY") == 0


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"health": 503}, "/health answered 503"),
        ({"generation_status": 500}, "/v1/completions answered 500"),
        ({"words": ()}, "without a token"),
        ({"generation_status": 404}, "/v1/completions answered 404"),
        ({"key": "sk-other"}, "/v1/completions answered 401"),
    ],
)
def test_a_healthy_page_is_not_ready(
    gate: ModuleType, engine: Any, broken: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in broken.items():
        setattr(engine, name, value)
    assert _ready(gate, engine.url) == 1
    assert said in capsys.readouterr().err


def test_a_model_may_take_the_whole_time_of_the_start_to_load(
    gate: ModuleType, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, float] = {}
    request = gate._request

    def noted(url: str, path: str, body: object, key: str, seconds: float) -> Any:
        given[path] = seconds
        return request(url, path, body, key, seconds)

    monkeypatch.setattr(gate, "_request", noted)
    assert _ready(gate, engine.url, timeout=600) == 0
    assert given["/health"] == gate.HEALTH_SECONDS
    assert 500 < given["/v1/completions"] <= 600


def test_models_to_preload_are_asked_after_the_first_answer(
    gate: ModuleType, engine: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ready(gate, engine.url, "--preload", "second:latest", "--preload", "third") == 0
    assert [body["model"] for _, body in engine.requests] == ["org/model", "second:latest", "third"]
    said = capsys.readouterr().out.splitlines()
    assert [line.split(" answered")[0] for line in said] == ["the model", "second:latest", "third"]


def test_an_engine_that_cannot_load_the_model_is_not_asked_for_ever(
    gate: ModuleType, engine: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gate, "PAUSE_SECONDS", 0)
    engine.generation_status = 500
    assert _ready(gate, engine.url, timeout=600) == 1
    assert len(engine.requests) == gate.FAILED_ANSWERS
    assert f"org/model: {gate.FAILED_ANSWERS} times in a row /v1/completions" in capsys.readouterr().err


def test_an_engine_that_still_loads_is_asked_on(
    gate: ModuleType, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "PAUSE_SECONDS", 0)
    statuses = iter([503] * (gate.FAILED_ANSWERS + 1) + [200])
    request = gate._request
    monkeypatch.setattr(
        gate,
        "_request",
        lambda *words: request(*words) if words[1] == "/health" else (next(statuses), ANSWER),
    )
    assert _ready(gate, engine.url, timeout=600) == 0


def test_gives_up_at_once_when_the_engine_has_ended(
    gate: ModuleType, engine: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAINPID", str(2**22 + 1))  # above what Linux gives out
    assert _ready(gate, engine.url, timeout=600) == 1
    assert "the engine ended" in capsys.readouterr().err
    assert not engine.requests


def test_show_prints_both_signatures_and_the_owner(
    gate: ModuleType, places: Path, listening: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--unit", "vllm.service", "--model-dir", str(places / "model"), "--port", str(listening)]
    assert gate.main(["show", *words]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["started"] == {}
    assert shown["now"]["API key"] == "absent"
    assert f"(pid {os.getpid()})" in shown["port_owner"]
