# SPDX-License-Identifier: Apache-2.0
"""What a model is served for: text, embeddings, scores or classes; each with its own proof."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.engine import gate, tasks
from ansible.module_utils.provision.engine.client import Engine, NoAnswerError
from ansible.module_utils.provision.engine.rungs import Ladder, Service
from ansible.module_utils.provision.engine.tasks import CLASSIFY, EMBED, GENERATE, SCORE, declared, prove

from tests.unit.engine.test_service_verify import given

__all__ = ["given"]
VECTOR = {"data": [{"embedding": [0.5, -0.25, 0.0]}]}
RANKED = {"results": [{"index": 0, "relevance_score": 0.875}]}
CLASSES = {"data": [{"label": "joy", "probs": [0.75, 0.25]}]}
ANSWERS = {"/v1/embeddings": VECTOR, "/v1/rerank": RANKED, "/classify": CLASSES}
OFFERED = {
    GENERATE: ("/v1/chat/completions", "/v1/completions", "/tokenize"),
    EMBED: ("/pooling", "/v1/embeddings", "/v1/rerank"),
    SCORE: ("/pooling", "/classify", "/score", "/v1/rerank"),
    CLASSIFY: ("/pooling", "/classify"),
}


def declare(engine: Any, task: str) -> None:
    """Let the server list the routes that a server for this task has."""
    engine.pages["/openapi.json"] = {"paths": {path: {"post": {}} for path in OFFERED[task]}}
    engine.shown.update(ANSWERS)


@pytest.mark.parametrize("task", OFFERED)
def test_the_routes_that_a_server_declares_show_its_task(engine: Any, task: str) -> None:
    declare(engine, task)
    assert declared(Engine(engine.url), "org/model") == task


@pytest.mark.parametrize(
    ("capabilities", "task"),
    [
        (["embedding"], EMBED),
        (["completion", "tools"], GENERATE),
        (["completion", "embedding"], GENERATE),
        (["vision"], GENERATE),
        (None, GENERATE),
    ],
)
def test_a_server_without_that_list_says_what_a_model_is_capable_of(
    engine: Any, capabilities: list[str] | None, task: str
) -> None:
    engine.shown["/api/show"] = {"capabilities": capabilities}
    assert declared(Engine(engine.url), "org/model") == task


def test_a_server_that_says_nothing_generates_and_one_that_is_gone_is_a_failure(engine: Any) -> None:
    assert declared(Engine(engine.url), "org/model") == GENERATE
    with pytest.raises(NoAnswerError):
        declared(Engine("http://127.0.0.1:9"), "org/model")


@pytest.mark.parametrize(
    ("task", "evidence"),
    [
        (EMBED, "an embedding of 3 numbers, after"),
        (SCORE, "a score of 0.875, after"),
        (CLASSIFY, "the class joy of 2, with a probability of 0.75, after"),
    ],
)
def test_the_answer_of_the_task_is_the_proof(
    given: dict[str, Any], engine: Any, task: str, evidence: str
) -> None:
    declare(engine, task)
    rungs = {rung.rung: rung for rung in Ladder(Service.of({**given, "expect": ""})).climb()}
    assert rungs["token"].status == "passed"
    assert rungs["token"].evidence.startswith(evidence)
    assert rungs["throughput"].status == "not applicable"
    assert task in rungs["throughput"].evidence
    assert engine.requests == []  # and it was not asked to generate


def test_what_the_inventory_says_counts_where_the_server_says_nothing(
    given: dict[str, Any], engine: Any
) -> None:
    engine.shown.update(ANSWERS)
    ladder = Ladder(Service.of({**given, "expect": "", "task": EMBED}))
    assert {rung.rung: rung.status for rung in ladder.climb()}["token"] == "passed"


def test_an_expected_text_is_not_looked_for_in_numbers(given: dict[str, Any], engine: Any) -> None:
    declare(engine, EMBED)
    (rung,) = [rung for rung in Ladder(Service.of(given)).climb() if rung.rung == "token"]
    assert (rung.status, rung.next) == ("failed", "remove serve_verify_expect from this service")
    assert rung.evidence == (
        "serve_verify_expect is set, but org/model answers with an embedding of 3 numbers, not a text"
    )


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"data": [{"embedding": [0.0, 0.0]}]}, "consists of zeros"),
        ({"data": [{"embedding": []}]}, "not an embedding"),
        ({"data": [{"embedding": [float("nan")]}]}, "not an embedding"),
        ({"data": []}, "not an embedding"),
        ({"error": "x"}, "not an embedding"),
    ],
)
def test_an_embedding_is_finite_numbers_that_are_not_all_zero(
    engine: Any, answer: dict[str, Any], problem: str
) -> None:
    engine.shown["/v1/embeddings"] = answer
    with pytest.raises(NoAnswerError, match=problem):
        prove(Engine(engine.url), EMBED, "org/model", "Hello", 5)


@pytest.mark.parametrize("task", [EMBED, SCORE, CLASSIFY])
@pytest.mark.parametrize("told", [True, False])
def test_the_gate_waits_for_the_answer_of_the_task(engine: Any, task: str, told: bool) -> None:
    declare(engine, task)
    gate.check(Engine(engine.url), "/health", "org/model", 5, task if told else tasks.AUTO)
    assert engine.requests == []


def test_a_task_of_the_unit_is_that_of_its_own_model_alone(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(gate, "check", lambda *given: asked.append((given[2], given[4])))
    where = {"url": engine.url, "health": "/health", "key_variable": "", "timeout": 5}
    gate.ready(Namespace(model="org/model", preload=["other"], task=EMBED, **where))
    assert asked == [("org/model", EMBED), ("other", tasks.AUTO)]


def test_a_unit_from_before_there_were_tasks_still_starts(tmp_path: Path) -> None:
    unit = tmp_path / "old.service"
    unit.write_text('ExecStartPre=+"/usr/bin/python3" "/serve-gate" "preflight" "--port" "8000"\n')
    assert gate.given_by(unit.read_text()).port == 8000
