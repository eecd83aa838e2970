# SPDX-License-Identifier: Apache-2.0
"""The module service_verify as Ansible runs it: arguments in, one JSON document out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.engine import files, inputs
from ansible.module_utils.testing import patch_module_args

from provisioner.ansible.modules import service_verify
from provisioner.runs import events
from tests.unit.engine.conftest import SERVING
from tests.unit.engine.test_service_verify import DRIVER
from tests.unit.fakes import Programs, Said, Systemd

Result = dict[str, Any]


def verify(capsys: pytest.CaptureFixture[str], **arguments: Any) -> Result:
    """Run the module and return its result; its exit status and `failed` must agree."""
    given = {name: value for name, value in arguments.items() if value is not None}
    with patch_module_args(given), pytest.raises(SystemExit) as end:
        service_verify.main()
    result: Result = json.loads(capsys.readouterr().out)
    assert bool(result.get("failed")) is (end.value.code == 1)
    return result


@pytest.fixture
def service(engine: Any, root: Path, systemd: Systemd) -> Result:
    """Return the arguments for a service of this host that works."""
    systemd.state = SERVING
    files.GATE.parent.mkdir(parents=True)
    files.GATE.touch()
    inputs.record("vllm.service", str(root / "model"))
    return {
        "scope": "service",
        "service": "vllm",
        "unit": "vllm.service",
        "url": engine.url,
        "model": "org/model",
        "model_dir": str(root / "model"),
        "address": "127.0.0.1",
        "prompt": "What is the capital of France?",
        "expect": "Paris",
    }


def test_a_service_that_answers_passes_with_its_answer(
    service: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    result = verify(capsys, **service)
    assert (result["changed"], result.get("failed", False)) == (False, False)
    provision = result["provision"]
    assert [(rung["rung"], rung["status"]) for rung in provision["rungs"]] == [
        ("unit", "passed"),
        ("api", "passed"),
        ("token", "passed"),
        ("device", "not applicable"),
        ("settings", "passed"),
        ("throughput", "passed"),
    ]
    assert {rung["service"] for rung in provision["rungs"]} == {"vllm"}
    answer = provision["answer"]
    assert (answer["service"], answer["question"]) == ("vllm", service["prompt"])
    assert (answer["text"], answer["tokens"]) == ("The capital of France is Paris.", 3)
    assert "warning" not in provision
    # Everything that the module reports reaches the report of the run.
    assert events.payload(provision) == provision


def test_the_first_rung_that_failed_is_the_message_and_gives_the_next_step(
    service: Result, engine: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.generation_status = engine.chat_status = 500
    result = verify(capsys, **service)
    assert result["msg"] == "vllm.service: token: /v1/chat/completions answered 500: EngineCore is dead"
    step = "see `journalctl --unit vllm.service` on the host; restarting the unit may help"
    assert result["provision"]["next"] == step
    assert [rung["status"] for rung in result["provision"]["rungs"]].count("failed") == 2
    assert "answer" not in result["provision"]


def test_a_service_that_listens_elsewhere_too_is_a_warning(
    service: Result, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(service_verify, "exposed", lambda *_: ["0.0.0.0 (ray) 2 ports"])
    result = verify(capsys, **service)
    warning = "vllm.service also listens on 0.0.0.0 (ray) 2 ports, which is not configured"
    assert result["provision"]["warning"] == [warning]
    assert not result.get("failed")


def test_routes_that_answer_without_the_key_are_a_warning(
    service: Result, engine: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (files.SETTINGS / "vllm.key").write_text(files.key_line("VLLM_API_KEY", "sk-test"))
    inputs.record("vllm.service", service["model_dir"])
    engine.key, engine.unguarded = "sk-test", ("/invocations",)
    result = verify(capsys, **service)
    warning = "vllm.service answers without its API key at /invocations"
    assert result["provision"]["warning"] == [warning]
    assert not result.get("failed")


def test_a_fault_of_the_host_is_a_failure_with_a_next_step(
    service: Result, programs: Programs, capsys: pytest.CaptureFixture[str]
) -> None:
    programs.add("systemctl", Said(code=1, err="Connection timed out"))
    result = verify(capsys, **service)
    assert result["msg"].endswith("vllm.service failed: Connection timed out")
    assert result["provision"] == {"next": "check 'systemctl status' and 'journalctl -b' on the host"}


def test_a_unit_that_does_not_run_fails_before_its_api(
    service: Result, systemd: Systemd, capsys: pytest.CaptureFixture[str]
) -> None:
    systemd.state = replace(SERVING, active="failed", sub="failed", result="oom-kill")
    result = verify(capsys, **{**service, "url": "http://127.0.0.1:9"})
    assert result["msg"] == "vllm.service: unit: vllm.service is failed (failed, result oom-kill)"
    assert result["provision"]["next"] == "run `provision apply` again"


@pytest.mark.parametrize("missing", service_verify.SERVICE_ARGUMENTS)
def test_a_service_needs_all_its_arguments(
    service: Result, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = verify(capsys, **{**service, missing: None})
    assert result["msg"] == f"scope is service but all of the following are missing: {missing}"


def test_a_host_without_gpus_passes(capsys: pytest.CaptureFixture[str]) -> None:
    result = verify(capsys, scope="host", driver={**DRIVER, "state": "no driver"}, systemd=257)
    rungs = [(rung["rung"], rung["status"], rung["service"]) for rung in result["provision"]["rungs"]]
    assert rungs == [
        ("reachable", "passed", None),
        ("driver", "not applicable", None),
        ("gpus", "not applicable", None),
    ]


def test_a_host_whose_driver_is_broken_fails_if_a_service_needs_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = {**DRIVER, "state": "hung", "problem": "the NVIDIA driver hangs", "next": "reboot the host"}
    result = verify(capsys, scope="host", driver=broken, gpus_expected=True)
    assert (result["msg"], result["provision"]["next"]) == (
        "driver: the NVIDIA driver hangs",
        "reboot the host",
    )
    assert not verify(capsys, scope="host", driver=broken).get("failed")


def test_a_host_needs_what_the_probe_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert "driver" in verify(capsys, scope="host")["msg"]
