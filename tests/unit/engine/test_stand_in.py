# SPDX-License-Identifier: Apache-2.0
"""The stand-in of a new engine answers what the gate, `verify` and `status` ask of an engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.provision.engine import gate
from ansible.module_utils.provision.engine.client import Engine, NoAnswerError

from scripts.skeleton.roles.engine_abacus.files import abacus_server

KEY = "made-up"


@pytest.fixture(params=["", KEY], ids=["open", "with a key"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    given = ["--port", "0", "--model", str(tmp_path), "--served-model-name", "a/b", "--context-length", "512"]
    options = abacus_server.arguments().parse_args(given)
    with abacus_server.Server(options, request.param) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Engine(f"http://127.0.0.1:{server.server_port}", request.param, 10)
        server.shutdown()
        thread.join()


def test_the_gate_accepts_a_generated_token(engine: Engine) -> None:
    gate.check(engine, "/health", "a/b", 10)
    assert engine.generate("a/b", 10) == 1


def test_it_lists_its_model_with_what_takes_effect(engine: Engine) -> None:
    assert engine.models() == ["a/b"]
    assert engine.document("/v1/models")["data"][0]["max_model_len"] == 512


def test_a_streamed_chat_says_that_it_is_a_stand_in(engine: Engine) -> None:
    text, speed = engine.answer("a/b", "What is the capital of France?")
    assert text == abacus_server.ANSWER
    assert speed.tokens == len(abacus_server.ANSWER.split())
    assert "stand-in" in text


def test_it_refuses_what_it_does_not_serve(engine: Engine) -> None:
    with pytest.raises(NoAnswerError, match="the model other is not served here"):
        engine.answer("other", "Hello?")
    assert engine.status("/elsewhere") == 404


def test_all_but_the_health_page_needs_the_key(engine: Engine) -> None:
    stranger = Engine(engine.url)
    assert stranger.status("/health") == 200
    assert stranger.status("/v1/models") == (401 if engine.key else 200)


def test_a_missing_model_ends_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--port", "0", "--model", str(tmp_path / "none"), "--served-model-name", "a/b"]
    monkeypatch.setattr("sys.argv", ["abacus_server", *given])
    assert abacus_server.main() == 1
    assert capsys.readouterr().err == f"no model in {tmp_path}/none\n"
