# SPDX-License-Identifier: Apache-2.0
"""Which routes of a server answer without its API key."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.provision.engine import files, guard
from ansible.module_utils.provision.engine.client import Engine
from ansible.module_utils.provision.engine.rungs import Ladder, Service

from tests.unit.engine.test_service_verify import given

__all__ = ["given"]
BODY: dict[str, Any] = {"post": {"requestBody": {}}}
# As a server for text and one for vectors declare them.
DECLARED = {
    "/health": {"get": {}},
    "/v1/models": {"get": {}},
    "/v1/responses/{response_id}": {"get": {}},
    "/v1/responses/{response_id}/cancel": {"post": {}},
    "/tokenize": BODY,
    "/v1/chat/completions": BODY,
    "/v1/chat/completions/render": BODY,
    "/v1/completions": BODY,
    "/generative_scoring": BODY,
    "/ping": {"get": {}, "post": {}},
    "/invocations": {"post": {}},
    "/scale_elastic_ep": {"post": {}},
    "/abort_requests": BODY,
    "/something_new": BODY,
}
USING = [
    "/v1/chat/completions",
    "/v1/completions",
    "/generative_scoring",
    "/invocations",
    "/something_new",
]


def test_what_uses_the_model_is_what_takes_a_request_and_is_not_known_for_less() -> None:
    assert guard.generating(DECLARED) == USING
    assert "/v1/chat/completions" in guard.generating({})


LEFT_OPEN = pytest.mark.parametrize(
    "left_open", [(), ("/invocations",), ("/generative_scoring", "/something_new")]
)


@LEFT_OPEN
def test_every_such_route_is_asked_without_the_key_and_made_to_do_nothing(
    engine: Any, left_open: tuple[str, ...]
) -> None:
    engine.pages["/openapi.json"] = {"paths": DECLARED}
    engine.key, engine.unguarded = "sk-test", left_open
    assert guard.unguarded(Engine(engine.url, "sk-test")) == sorted(left_open)
    assert (engine.probed, engine.requests) == (USING, [])


def test_a_server_that_declares_nothing_is_asked_at_the_usual_routes(engine: Any) -> None:
    engine.key, engine.unguarded, engine.absent = "sk-test", ("/infill", "/score"), ("/score",)
    assert guard.unguarded(Engine(engine.url, "sk-test")) == ["/infill"]
    assert engine.probed == list(guard.KNOWN)


@LEFT_OPEN
def test_verify_lists_the_open_ones(given: dict[str, Any], engine: Any, left_open: tuple[str, ...]) -> None:
    (files.SETTINGS / "vllm.key").write_text(files.key_line("VLLM_API_KEY", "sk-test"))
    engine.pages["/openapi.json"] = {"paths": DECLARED}
    engine.key, engine.unguarded = "sk-test", left_open
    ladder = Ladder(Service.of(given))
    (api,) = [rung for rung in ladder.climb() if rung.rung == "api"]
    offers = f"{engine.url}/v1/models offers org/model"
    if left_open:
        said = f", and wants its key, but answers without it at {', '.join(sorted(left_open))}"
    else:
        said = ", and refuses requests without its key"
    assert (api.status, api.evidence) == ("passed", offers + said)
    assert ladder.open == sorted(left_open)


def test_without_a_key_nothing_is_asked(given: dict[str, Any], engine: Any) -> None:
    ladder = Ladder(Service.of(given))
    ladder.climb()
    assert (ladder.open, engine.probed) == ([], [])
