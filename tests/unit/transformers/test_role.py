# SPDX-License-Identifier: Apache-2.0
"""The role turns a service into the command and the environment of `transformers serve`."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.provision.engine import causes
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from provisioner.fleet import variables
from tests.contract import tree
from tests.unit import engine_roles
from tests.unit.fleet import made_up

ROLE = tree.ROOT / "roles/engine_transformers"
ENVIRONMENT = "/opt/provision/envs/transformers-1"
H100 = {
    "index": 0,
    "uuid": "GPU-0a2b3c4d-0000-0000-0000-000000000000",
    "name": "NVIDIA H100",
    "compute_capability": "9.0",
    "pci": "0000:1b:00.0",
    "mig": False,
    "mig_devices": None,
}
SECOND = {**H100, "index": 1, "uuid": "GPU-1a2b3c4d-0000-0000-0000-000000000001", "pci": "0000:1c:00.0"}
V100 = {**H100, "name": "Tesla V100", "compute_capability": "7.0"}
START = [f"{ENVIRONMENT}/bin/python", "/usr/local/lib/provision/transformers_serve.py", "--name", "org/model"]


class Role:
    """Hold the variables of the role for a service on a host."""

    def __init__(self, gpus: list[dict[str, Any]], **changes: Any) -> None:
        loader = DataLoader()
        service = {
            **variables.defaults(ROLE.name),
            "engine": "transformers",
            "title": "Transformers",
            "unit": "transformers.service",
            "serve_address": "127.0.0.1",
            "serve_port": 8001,
            "serve_gpus": [],
            "serve_env": {},
            "serve_task": "auto",
            "tasks": ["generate"],
            "serve_args": [],
            "served_name": "org/model",
            "model_dir": "/models/org",
            **changes,
        }
        probe = {
            "gpus": gpus,
            "driver": engine_roles.driver(),
            "nvidia_pci": [{"slot": "0000:1b:00.0"}] * len(gpus),
        }
        known = {
            **engine_roles.load(ROLE / "vars/main.yml"),
            "__engine_transformers_metadata": engine_roles.load(ROLE / "engine.yml"),
            "engine_common_program_result": {"path": START[1], "sha256": "f" * 64},
            "ansible_facts": {"host_probe": probe, "python_envs": {"transformers": ENVIRONMENT}},
            "service": service,
        }
        self.chosen = engine_roles.choose(ROLE.name, Templar(loader, known))
        self._templar = Templar(loader, {**known, "engine_common_device_result": self.chosen})

    def value(self, name: str) -> Any:
        return self._templar.template(trust_as_template("{{ __engine_transformers_" + name + " }}"))


def arguments(*gpus: dict[str, Any], **changes: Any) -> list[str]:
    """Return what the server is given beyond its address and port."""
    argv = Role(list(gpus), **changes).value("argv")
    assert argv[:4] == START
    assert argv[4:6] == ["--model", "/models/org"]
    assert argv[8:13] == ["--", "--host", "127.0.0.1", "--port", "8001"]
    return [*argv[6:8], *argv[13:]]


def test_what_is_left_open_is_left_to_the_engine() -> None:
    rest = ["--reasoning", "auto", "--log-level", "warning"]
    assert arguments() == ["--device", "cpu", "--dtype", "float32", *rest]
    assert arguments(H100) == ["--device", "cuda:0", "--dtype", "auto", *rest]
    assert arguments(H100, engine_transformers_device="cpu")[:2] == ["--device", "cpu"]


def test_several_gpus_share_the_layers_and_none_of_them_the_cpu() -> None:
    assert arguments(H100, SECOND)[:2] == ["--device", "cuda:0"]
    both = Role([H100, SECOND], serve_gpus=["0", "1"])
    assert both.value("argv")[6:8] == ["--device", "balanced"]
    assert both.value("environment")["CUDA_VISIBLE_DEVICES"] == f"{H100['uuid']},{SECOND['uuid']}"


def test_every_variable_is_an_argument_of_the_server() -> None:
    given = arguments(
        H100,
        engine_transformers_dtype="bfloat16",
        engine_transformers_attn_implementation="sdpa",
        engine_transformers_continuous_batching=True,
        engine_transformers_cb_num_blocks=64,
        engine_transformers_cb_max_batch_tokens=512,
        engine_transformers_cb_max_memory_percent=0.5,
        engine_transformers_cb_use_cuda_graph=False,
        engine_transformers_compile=True,
        engine_transformers_reasoning="off",
        engine_transformers_chat_template_kwargs={"b": True, "a": "x"},
        engine_transformers_default_seed=7,
        engine_transformers_log_level="info",
        engine_transformers_trust_remote_code=True,
        serve_args=["--enable-cors"],
    )
    assert given == [
        *("--device", "cuda:0", "--dtype", "bfloat16", "--attn-implementation", "sdpa"),
        *("--cb-num-blocks", "64", "--cb-max-batch-tokens", "512", "--cb-max-memory-percent", "0.5"),
        *("--reasoning", "off", "--chat-template-kwargs", '{"a": "x", "b": true}', "--default-seed", "7"),
        *("--log-level", "info", "--continuous-batching", "--no-cb-use-cuda-graph", "--compile"),
        *("--trust-remote-code", "--enable-cors"),
    ]


def test_every_argument_that_the_role_writes_is_reserved() -> None:
    reserved = set(tree.mapping(ROLE / "engine.yml")["reserved_args"])
    written = {name for name in Role([H100]).value("valued_arguments") if name.startswith("--")}
    assert written | {"--device", "--continuous-batching", "--compile", "--trust-remote-code"} <= reserved


def test_the_environment_is_the_inventorys_below_what_the_role_needs() -> None:
    role = Role([], serve_env={"DO_NOT_TRACK": "0", "OMP_NUM_THREADS": "4"})
    environment = role.value("environment")
    assert (environment["DO_NOT_TRACK"], environment["OMP_NUM_THREADS"]) == ("0", "4")
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert environment["TRANSFORMERS_SERVE_SHA256"] == "f" * 64
    reserved = set(tree.mapping(ROLE / "engine.yml")["reserved_env"])
    assert set(role.value("fixed_environment")) <= reserved


def test_old_gpus_need_packages_of_their_own() -> None:
    assert "compute capability" in Role([V100]).chosen["msg"]
    assert Role([V100], engine_transformers_requirements="own.txt").chosen["device"] == "cuda"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"engine_transformers_version": "5.10.1"}, "is below 5.24.0, the oldest safe version"),
        ({"engine_transformers_cb_num_blocks": 4}, "it is a setting of continuous batching"),
        ({"engine_transformers_cb_max_memory_percent": 1.5}, "must be a share above 0 and up to 1"),
        ({"engine_transformers_attn_implementation": "flash_attention_2"}, "do not contain flash attention"),
        ({"serve_profile": "throughput"}, "cannot be set: Transformers has no profiles"),
        ({"serve_args": ["--device=cuda"]}, "--device"),
        ({"serve_env": {"HF_HUB_OFFLINE": "0"}}, "HF_HUB_OFFLINE"),
    ],
)
def test_what_cannot_work_is_reported_before_a_host_is_contacted(given: dict[str, Any], reason: str) -> None:
    found = made_up.reasons(serve_engine="transformers", serve_model="a/b", **given)
    assert [text for text in found if reason in text], found


# Lines of a journal as transformers 5.24.0 and this role's program write them, and what helps.
@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("Error: No such option '--foo'.", "correct serve_args"),
        ("Error: Got unexpected extra argument (extra)", "correct serve_args"),
        ("no model in /var/lib/provision/models/a", "check serve_model"),
        (
            "OSError: Error no file named model.safetensors, or pytorch_model.bin, found in",
            "check serve_model",
        ),
        ("model type `foo` but Transformers does not recognize this architecture.", "newer version"),
        (
            "ImportError: FlashAttention2 has been toggled on, but it cannot be used",
            "attn_implementation: auto",
        ),
        (
            "2 of 30 parts of the model did not fit into the memory of the GPUs",
            "list more GPUs in serve_gpus",
        ),
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
            "list more GPUs in serve_gpus",
        ),
    ],
)
def test_a_start_that_fails_is_explained(line: str, step: str) -> None:
    meaning, helps = causes.explain([line], "exit-code", Role([]).value("causes"), "transformers.service")
    assert meaning
    assert step in helps
