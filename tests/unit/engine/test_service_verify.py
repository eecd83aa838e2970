# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.engine import files, inputs
from ansible.module_utils.provision.engine import memory as engine_memory
from ansible.module_utils.provision.engine import rungs as engine_rungs
from ansible.module_utils.provision.engine.client import Engine, NoAnswerError
from ansible.module_utils.provision.engine.rungs import Service
from ansible.module_utils.provision.gpu import health
from ansible.module_utils.provision.host.systemd import UnitState
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from tests.unit.engine.conftest import SERVING
from tests.unit.fakes import Systemd


@pytest.fixture
def given(engine: Any, root: Path, systemd: Systemd) -> dict[str, Any]:
    """Describe a service that works; what it was started with is on disk unchanged."""
    systemd.state = SERVING
    model = root / "model"
    inputs.record("vllm.service", str(model))
    files.GATE.parent.mkdir(parents=True)
    files.GATE.touch()
    return {
        "service": "vllm",
        "unit": "vllm.service",
        "url": engine.url,
        "health_path": "/health",
        "model": "org/model",
        "model_dir": str(model),
        "address": "127.0.0.1",
        "prompt": "What is the capital of France?",
        "answer_seconds": 60,
        "expect": "paris",
        "task": "auto",
        "device": "cpu",
        "settings": [
            {
                "name": "max_model_len",
                "requested": 2048,
                "sources": [{"get": "/v1/models", "field": "data.*.max_model_len"}],
            }
        ],
        "setting_causes": [],
        "memory": {},
    }


def climb(given: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {
        rung.rung: (rung.status, rung.evidence) for rung in engine_rungs.Ladder(Service.of(given)).climb()
    }


def test_a_generated_token_is_the_proof(given: dict[str, Any]) -> None:
    found = climb(given)
    assert list(found) == ["unit", "api", "token", "device", "settings", "throughput"]
    assert {name: status for name, (status, _) in found.items()} == {
        "unit": "passed",
        "api": "passed",
        "token": "passed",
        "device": "not applicable",
        "settings": "passed",
        "throughput": "passed",
    }
    assert found["token"][1].startswith("3 tokens, the first after")


def test_a_server_that_is_healthy_and_cannot_generate_fails(given: dict[str, Any], engine: Any) -> None:
    engine.chat_status = 500
    found = climb(given)
    assert found["api"][0] == "passed"
    assert found["token"] == ("failed", "/v1/chat/completions answered 500: EngineCore is dead")
    assert found["throughput"][0] == "failed"


@pytest.mark.parametrize(
    ("broken", "rung", "said"),
    [
        ({"health": 503}, "api", "/health answered 503"),
        ({"model": "org/other"}, "api", "serves org/other instead of org/model"),
        ({"words": ()}, "token", "without a single token"),
        ({"words": ("Lyon.",)}, "token", "does not contain 'paris'"),
        ({"ends_early": True}, "token", "broke off"),
        ({"max_model_len": 512}, "settings", "max_model_len: requested 2048, effective 512 (/v1/models)"),
    ],
)
def test_says_what_is_wrong(
    given: dict[str, Any], engine: Any, broken: dict[str, Any], rung: str, said: str
) -> None:
    vars(engine).update(broken)
    status, evidence = climb(given)[rung]
    assert status == "failed"
    assert said in evidence


THOUGHTS = ("They ask for", " a capital.", " That is", " Paris", ".") * 12


@pytest.mark.parametrize("thinks_in", ["reasoning_content", "reasoning"])
def test_the_thoughts_of_a_model_count_as_tokens_and_may_contain_what_is_expected(
    given: dict[str, Any], engine: Any, thinks_in: str
) -> None:
    vars(engine).update(thoughts=THOUGHTS, thinks_in=thinks_in, words=())
    ladder = engine_rungs.Ladder(Service.of(given))
    token = next(rung for rung in ladder.climb() if rung.rung == "token")
    assert token.status == "passed"
    assert token.evidence.startswith("60 tokens, all of them thoughts, the first after")
    assert ladder.answer
    assert ladder.answer.text.startswith("(thinking) They ask for a capital. That is Paris")


def test_an_answer_after_thoughts_is_shown_without_them(given: dict[str, Any], engine: Any) -> None:
    engine.thoughts = ("Hm",)
    ladder = engine_rungs.Ladder(Service.of(given))
    ladder.climb()
    assert ladder.answer
    assert (ladder.answer.text, ladder.answer.tokens) == ("The capital of France is Paris.", 4)


@pytest.mark.parametrize(
    ("answered", "budgets", "status"),
    [
        ({"thoughts": ("Hm",) * 5}, [64, 512], "passed"),
        ({"thoughts": ("Hm",) * 60}, [64, 512, 2048], "passed"),
        ({"thoughts": ("Hm",) * 5000}, [64, 512, 2048], "failed"),
        ({"words": ("<think>", *("Hm",) * 5, "Paris")}, [64, 512], "passed"),
        ({"thoughts": ("Hm",) * 2, "words": ("Lyon.",)}, [64], "failed"),
        ({"thoughts": ("Paris?",) * 5000}, [64], "passed"),
    ],
)
def test_an_answer_that_is_cut_before_what_is_expected_gets_more_tokens_within_bounds(
    given: dict[str, Any], engine: Any, answered: dict[str, Any], budgets: list[int], status: str
) -> None:
    vars(engine).update(answered, tokens_each=16)
    assert climb(given)["token"][0] == status
    assert [body["max_tokens"] for _, body in engine.requests] == budgets


def test_without_an_expectation_the_first_tokens_are_enough(given: dict[str, Any], engine: Any) -> None:
    vars(engine).update(thoughts=("Hm",) * 60, tokens_each=16)
    assert climb({**given, "expect": ""})["token"][0] == "passed"
    assert len(engine.requests) == 1


def test_a_longer_answer_that_does_not_fit_leaves_the_shorter_one_to_be_judged(
    given: dict[str, Any], engine: Any
) -> None:
    vars(engine).update(thoughts=("Hm",) * 60, tokens_each=16, context=256)
    status, evidence = climb(given)["token"]
    assert (status, evidence) == ("failed", "the answer does not contain 'paris': '(thinking) HmHmHmHm'")


def test_nobody_listens(given: dict[str, Any]) -> None:
    found = climb({**given, "url": "http://127.0.0.1:9"})
    assert found["api"][0] == "failed"
    assert found["token"] == ("failed", "not requested, because the API does not answer")


def test_a_model_that_cannot_chat_is_asked_plainly(given: dict[str, Any], engine: Any) -> None:
    engine.chat_status = 400
    assert climb(given)["token"][0] == "passed"
    assert [path for path, _ in engine.requests] == ["/v1/chat/completions", "/v1/completions"]


def test_the_key_is_read_on_the_host_and_must_be_asked_for(given: dict[str, Any], engine: Any) -> None:
    (files.SETTINGS / "vllm.key").write_text(files.key_line("VLLM_API_KEY", "sk-test"))
    assert climb(given)["api"] == ("failed", "answers without the API key")
    engine.key = "sk-test"
    found = climb(given)
    assert found["api"][0] == found["token"][0] == "passed"
    engine.key = "sk-other"
    assert "answered 401" in climb(given)["api"][1]


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (SERVING, ""),
        (replace(SERVING, load="not-found"), "there is no vllm.service"),
        (replace(SERVING, load="masked", active="inactive"), "vllm.service is masked"),
        (
            replace(SERVING, active="failed", sub="failed", result="oom-kill"),
            "is failed (failed, result oom-kill)",
        ),
        (replace(SERVING, active="activating", sub="auto-restart"), "is activating (auto-restart"),
        (replace(SERVING, enabled=False), "is not enabled"),
        (replace(SERVING, restarts=3, active_seconds=20.0), "is flapping: 3 restarts, up for 20 s"),
        (replace(SERVING, restarts=3), ""),
        (replace(SERVING, restarts=1, active_seconds=20.0), ""),
    ],
)
def test_judges_the_unit(status: UnitState, problem: str) -> None:
    found = engine_rungs.unit_problem("vllm.service", status)
    assert problem in found
    assert bool(found) is bool(problem)


def test_compares_what_is_on_disk_with_what_the_gate_recorded(given: dict[str, Any]) -> None:
    said = "changed since the engine was started: {}"
    (files.SETTINGS / "vllm.env").write_text("A=2")
    assert climb(given)["settings"] == ("failed", said.format("environment"))
    files.GATE.unlink()
    assert climb(given)["settings"] == ("failed", said.format("environment, start gate"))


DRIVER: dict[str, Any] = {
    "state": "ok",
    "version": "580.95.05",
    "library": "580.95.05",
    "module": "580.95.05",
    "flavour": "open",
    "lost": [],
    "expected": 0,
    "problem": None,
    "next": None,
}
H200 = {"index": 0, "name": "H200"}


def test_a_host_without_gpus_is_not_applicable() -> None:
    rungs = health.host_rungs([], {**DRIVER, "state": "no driver"}, 257)
    assert [(rung.rung, rung.status) for rung in rungs] == [
        ("reachable", "passed"),
        ("driver", "not applicable"),
        ("gpus", "not applicable"),
    ]
    assert rungs[2].evidence == "no NVIDIA GPU is given to this host"


@pytest.mark.parametrize(("expected", "status"), [(True, "failed"), (False, "not applicable")])
def test_a_broken_driver_fails_where_a_service_is_to_use_it(expected: bool, status: str) -> None:
    broken = {**DRIVER, "state": "hung", "problem": "the NVIDIA driver hangs", "next": "reboot"}
    _, driver, gpus = health.host_rungs([], broken, 257, gpus_expected=expected)
    assert (driver.status, gpus.status) == (status, "not applicable")
    assert driver.evidence == "the NVIDIA driver hangs"
    assert driver.next == ("reboot" if expected else None)


def test_the_versions_that_agree_are_the_evidence_of_the_driver() -> None:
    _, driver, gpus = health.host_rungs([H200], {**DRIVER, "expected": 1}, 257)
    assert (driver.status, gpus.status, gpus.evidence) == (
        "passed",
        "passed",
        "0: H200; 1 of 1 on the PCI bus",
    )
    assert driver.evidence == "loaded module 580.95.05 (open) = library 580.95.05"


@pytest.mark.parametrize(
    ("lost", "evidence"),
    [
        ([], "1 of the 2 on the PCI bus; 0: H200"),
        (["GPU 1: GPU is lost"], "GPU 1: GPU is lost; 0: H200"),
    ],
)
def test_a_gpu_that_fell_off_the_bus_fails(lost: list[str], evidence: str) -> None:
    rungs = health.host_rungs([H200], {**DRIVER, "expected": 2, "lost": lost}, 257)
    assert (rungs[1].status, rungs[2].status, rungs[2].evidence) == ("passed", "failed", evidence)
    assert "power cycle" in (rungs[2].next or "")


@pytest.mark.parametrize(
    ("ready", "status", "says"),
    [
        ("580.95.05", "passed", " = module for kernel 6.8.0-90, which boots next"),
        ("580.159.04", "failed", ", but kernel 6.8.0-90, which boots next, has module 580.159.04"),
        (None, "failed", ", but kernel 6.8.0-90, which boots next, has no module"),
    ],
)
def test_the_driver_must_be_there_after_the_next_boot_as_well(
    ready: str | None, status: str, says: str
) -> None:
    booting = {"kernel": "6.8.0-90", "module": ready}
    _, driver, _ = health.host_rungs([H200], {**DRIVER, "booting": booting}, 257)
    assert driver.status == status
    assert driver.evidence == f"loaded module 580.95.05 (open) = library 580.95.05{says}"
    assert ("before the host boots" in (driver.next or "")) is (status == "failed")


def log(*errors: dict[str, Any], whole: bool = True, problem: str | None = None) -> dict[str, Any]:
    return {"xid": {"errors": list(errors), "whole": whole, "problem": problem}}


def xid(number: int, **more: Any) -> dict[str, Any]:
    slot = {"time": 5.0, "slot": "0000:1b:00.0", "text": "", "count": 1, "past": False}
    return {"xid": number, **slot, **more}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (log(), "no Xid since boot"),
        (log(whole=False), "no Xid in the kernel's log, which no longer goes back to the boot"),
        (log(problem="dmesg is not installed"), "Xids are not known, because dmesg is not installed"),
        (
            log(xid(31, text="MMU Fault")),
            "note: Xid 31 of 0000:1b:00.0 (a program used memory of the GPU that",
        ),
        (log(xid(43, count=7)), "note: Xid 43 of 0000:1b:00.0, 7 times (a program's own fault"),
        (log(xid(79, past=True)), "note: Xid 79 of 0000:1b:00.0, before the driver was loaded again"),
    ],
)
def test_what_programs_did_to_themselves_is_a_note(given: dict[str, Any], says: str) -> None:
    _, _, gpus = health.host_rungs([{**H200, "ecc_uncorrected": 0}], {**DRIVER, **given}, 257)
    assert gpus.status == "passed"
    assert gpus.evidence.startswith(f"0: H200; no uncorrected error of memory (ECC); {says}")


@pytest.mark.parametrize(
    ("number", "says", "step"),
    [
        (79, "Xid 79 of 0000:1b:00.0 (the GPU has fallen off the bus: lost)", "cut its power"),
        (48, "Xid 48", "nvidia-smi --gpu-reset -i 0000:1b:00.0"),
        (74, "NVLink", "fabricmanager"),
        (4711, "no Xid that is known here: lost", "https://docs.nvidia.com/deploy/xid-errors"),
    ],
)
def test_an_xid_of_the_hardware_fails_with_what_helps(number: int, says: str, step: str) -> None:
    driver = {**DRIVER, **log(xid(31), xid(number, text="lost"))}
    _, _, gpus = health.host_rungs([H200], driver, 257)
    assert gpus.status == "failed"
    assert says in gpus.evidence.partition("; ")[0]
    assert "note: Xid 31" in gpus.evidence
    assert step in (gpus.next or "")


def test_errors_of_memory_fail() -> None:
    gpu = {**H200, "ecc_uncorrected": 3, "pci": "0000:1b:00.0"}
    _, _, gpus = health.host_rungs([gpu], DRIVER, 257)
    assert gpus.status == "failed"
    assert (
        gpus.evidence == "3 uncorrected errors of memory (ECC) on GPU 0 since the driver was loaded; 0: H200"
    )
    assert "--gpu-reset -i 0000:1b:00.0" in (gpus.next or "")


def test_a_driver_that_hangs_may_have_said_why() -> None:
    hung = {**DRIVER, "problem": "the NVIDIA driver hangs", "next": "boot", **log(xid(13), xid(119))}
    _, driver, _ = health.host_rungs([], hung, 257, gpus_expected=True)
    assert driver.evidence.startswith("the NVIDIA driver hangs; Xid 119 of 0000:1b:00.0 (the firmware")
    assert "Xid 13" not in driver.evidence


def test_an_error_inside_the_stream_is_an_error(engine: Any) -> None:
    engine.error = "out of memory"
    with pytest.raises(NoAnswerError, match="the engine reported: out of memory"):
        Engine(engine.url).answer("org/model", "?")


def test_prints_what_was_asked_and_what_took_effect(given: dict[str, Any]) -> None:
    given["settings"].append(
        {"name": "slots", "requested": None, "sources": [{"get": "/absent", "field": "x"}]}
    )
    said = "started from the files on disk; max_model_len: requested 2048, effective 2048 (/v1/models)"
    assert climb(given)["settings"] == ("passed", f"{said}; slots: unknown")


def test_a_wrong_setting_is_followed_by_what_helps(
    given: dict[str, Any], engine: Any, systemd: Systemd
) -> None:
    engine.max_model_len = 512
    systemd.journal = ["the model ends at 512"]
    cause = {
        "setting": "max_model_len",
        "pattern": r"ends at \d+",
        "meaning": "it is the model's",
        "next": "ask less",
    }
    rungs = {
        rung.rung: rung
        for rung in engine_rungs.Ladder(Service.of({**given, "setting_causes": [cause]})).climb()
    }
    assert rungs["settings"].evidence.endswith(", because it is the model's (ends at 512)")
    assert rungs["settings"].next == "ask less"
    plain = {rung.rung: rung for rung in engine_rungs.Ladder(Service.of(given)).climb()}
    assert "journalctl --unit vllm.service" in str(plain["settings"].next)


@pytest.fixture
def on_gpu(given: dict[str, Any], engine: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Let a service of a GPU host have its GPU open, and say where its model is."""
    monkeypatch.setattr(engine_rungs, "nvidia_users", lambda _: [42])
    monkeypatch.setattr(engine_memory, "reason", lambda _: ("/dev/nvidia-uvm is missing", "load it"))
    monkeypatch.setattr(engine_memory, "held", lambda pids: "3.0 GiB of GPU 0" * (pids == [42]))
    engine.pages["/api/ps"] = {"models": [{"name": "org/model", "size": 2 << 30, "size_vram": 2 << 30}]}
    memory = {"get": "/api/ps", "total": "models.*.size", "on_gpu": "models.*.size_vram"}
    return {**given, "device": "cuda", "memory": memory}


def test_a_model_that_is_wholly_on_the_gpu_passes(on_gpu: dict[str, Any]) -> None:
    said = (
        "2.0 of 2.0 GiB of the model in GPU memory, "
        "1 process of the service with an NVIDIA GPU open, with 3.0 GiB of GPU 0"
    )
    assert climb(on_gpu)["device"] == ("passed", said)


@pytest.mark.parametrize("share", [0, 1 << 30])
def test_a_model_that_fell_back_to_the_cpu_fails_with_the_reason(
    on_gpu: dict[str, Any], engine: Any, share: int
) -> None:
    engine.pages["/api/ps"]["models"][0]["size_vram"] = share
    (rung,) = [rung for rung in engine_rungs.Ladder(Service.of(on_gpu)).climb() if rung.rung == "device"]
    assert rung.status == "failed"
    assert rung.evidence == (
        f"only {share >> 30}.0 of 2.0 GiB of the model in GPU memory, the rest runs on the CPU; "
        "/dev/nvidia-uvm is missing"
    )
    assert rung.next == "load it"


def test_a_model_that_was_unloaded_again_is_nowhere(on_gpu: dict[str, Any], engine: Any) -> None:
    engine.pages["/api/ps"] = {"models": []}
    assert climb(on_gpu)["device"][0] == "not applicable"
    engine.chat_status = 500
    assert climb(on_gpu)["device"][0] == "passed"


def test_a_service_that_has_no_gpu_open_fails(
    on_gpu: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_rungs, "nvidia_users", lambda _: [])
    status, evidence = climb({**on_gpu, "memory": {}})["device"]
    assert (status, evidence) == (
        "failed",
        "no process of the service has an NVIDIA GPU open; /dev/nvidia-uvm is missing",
    )


@pytest.mark.parametrize(
    ("devices", "words", "expected"),
    [
        (["auto"], {}, True),
        (["cpu", "cuda"], {}, True),
        (["cpu"], {}, False),
        ([], {}, False),
        # Where the bus shows GPUs, their driver is looked after unless the inventory leaves it to others.
        ([], {"gpus": 2}, True),
        (["cpu"], {"gpus": 2, "nvidia_driver_state": "ignored"}, False),
        # A dry run has installed no driver.
        (["auto"], {"gpus": 2, "ansible_check_mode": True}, False),
    ],
)
def test_the_playbook_expects_gpus_where_they_are_and_where_a_service_may_use_them(
    checkout: Path, devices: list[str], words: dict[str, Any], expected: bool
) -> None:
    loader = DataLoader()
    (play,) = loader.load_from_file(str(checkout / "playbooks/verify.yml"), trusted_as_template=True)
    (task,) = [task for task in play["tasks"] if task["name"] == "Check the host"]
    services = [{"unit": "vllm.service", "engine_vllm_device": device} for device in devices]
    given = {"ansible_check_mode": False, **words}
    probe = {"driver": {"expected": given.pop("gpus", 0)}}
    templar = Templar(
        loader, {"ansible_facts": {"provision_services": services, "host_probe": probe}, **given}
    )
    assert templar.template(task["service_verify"]["gpus_expected"]) is expected
