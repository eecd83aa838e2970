# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import HostError
from provisioner.fleet import services
from provisioner.remote import status
from provisioner.remote.reach import Way
from provisioner.runs import rundir
from provisioner.runs.fold import Fold

SERVICE = services.resolve({"serve_engine": "vllm", "serve_model": "a/b"}, {}).services[0]
GOOD: dict[str, Any] = {
    "name": "vllm",
    "unit": "vllm.service",
    "load": "loaded",
    "active": "active",
    "sub": "running",
    "result": "success",
    "restarts": 0,
    "uptime_s": 5.0,
    "health": 200,
    "models": ["a/b"],
    "error": "",
    "replaced": [],
}


@pytest.mark.parametrize(
    ("said", "state", "note"),
    [
        ({}, "serving", ""),
        ({"load": "not-found", "active": "inactive"}, "missing", "provision apply"),
        ({"active": "activating", "sub": "start-post", "restarts": 3}, "starting", "restarted 3 times"),
        ({"active": "activating", "sub": "start-post"}, "starting", "waiting for its first answer"),
        (
            {"active": "activating", "sub": "auto-restart", "result": "signal", "restarts": 1},
            *("starting", "it exited (signal) and restarts in a moment, restarted 1 time: provision logs"),
        ),
        ({"active": "failed", "result": "exit-code"}, "failed", "exit-code: provision logs"),
        ({"active": "inactive"}, "inactive", "provision apply starts it"),
        ({"load": "masked", "active": "inactive"}, "masked", "run `systemctl unmask vllm.service` on"),
        ({"health": 503}, "unhealthy", "returns 503"),
        ({"error": "refused\nby it"}, "unhealthy", "refused by it"),
        ({"models": ["other\x1b[2J"]}, "unhealthy", "instead of a/b"),
    ],
)
def test_each_state_is_a_word_and_a_reason(said: dict[str, Any], state: str, note: str) -> None:
    answer = {"services": [{**GOOD, **said}], "unnamed": []}
    judged = status.judge(Way("gpu1", services=(SERVICE,)), answer, None)
    assert judged.services[0].state == state
    assert note in judged.services[0].note
    assert "\x1b" not in judged.services[0].note
    assert judged.is_well is (state == "serving")


@pytest.mark.parametrize(("tag", "state"), [("latest", "serving"), ("", "unhealthy")])
def test_names_of_models_with_tags_have_no_case(tag: str, state: str) -> None:
    engine = dataclasses.replace(SERVICE.engine, default_tag=tag)
    service = dataclasses.replace(SERVICE, engine=engine)
    answer = {"services": [{**GOOD, "models": ["A/B:latest"]}], "unnamed": []}
    assert status.judge(Way("gpu1", services=(service,)), answer, None).services[0].state == state


def test_a_service_with_replaced_libraries_serves_and_says_so() -> None:
    libraries = ["/usr/lib/x86_64-linux-gnu/libssl.so.3"]
    answer = {"services": [{**GOOD, "replaced": libraries}], "unnamed": []}
    judged = status.judge(Way("gpu1", services=(SERVICE,)), answer, None)
    assert judged.is_well
    assert judged.to_json()["services"][0]["replaced"] == tuple(libraries)
    note = judged.services[0].note
    assert note.startswith("vllm.service still runs with files that an update has replaced: libssl.so.3; ")
    assert "provision exec -b INVENTORY --limit gpu1 -- systemctl --no-block restart vllm.service" in note


@pytest.mark.parametrize(("tag", "state"), [("usual", "serving"), ("", "unhealthy")])
def test_a_model_without_a_tag_may_be_listed_under_the_usual_one(tag: str, state: str) -> None:
    engine = dataclasses.replace(SERVICE.engine, default_tag=tag)
    way = Way("gpu1", services=(dataclasses.replace(SERVICE, engine=engine),))
    answer = {"services": [{**GOOD, "models": ["a/b:usual"]}], "unnamed": []}
    assert status.judge(way, answer, None).services[0].state == state


def test_names_what_the_inventory_no_longer_names() -> None:
    judged = status.judge(Way("gpu1"), {"services": [], "unnamed": ["vllm@old.service"]}, None)
    assert judged.is_well
    assert judged.to_json()["unnamed"] == ("vllm@old.service",)


def test_a_host_that_cannot_be_asked_is_not_well() -> None:
    judged = status.failed(Way("gpu1"), HostError("no way", "fix it"), None)
    assert (judged.is_well, judged.to_json()["next"]) == (False, "fix it")


def test_the_last_run_is_that_of_this_inventory_and_host(tmp_path: Path) -> None:
    def run(source: str, *hosts: str) -> str:
        made = rundir.create()
        rundir.write(made.plan, json.dumps({"inventory": source}))
        rundir.write(made.report, Fold(hosts, ("Host",)).report(run=made.id, log="").to_json())
        return made.id

    mine = str(tmp_path / "mine.ini")
    first = run(mine, "gpu1", "gpu2")
    second = run(mine, "gpu1")
    run(str(tmp_path / "other.ini"), "gpu1")
    rundir.create()
    found = status.last_runs(mine, ["gpu1", "gpu2", "gpu3"])
    assert {host: last.id for host, last in found.items()} == {"gpu1": second, "gpu2": first}
