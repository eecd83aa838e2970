# SPDX-License-Identifier: Apache-2.0
"""Render what engine_vllm gives to systemd, with Ansible's own templating."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from provisioner import words

PYTHON = "/opt/provision/envs/vllm-cpu-0123456789ab/bin/python"
H200 = {"index": 0, "uuid": "GPU-1", "name": "H200", "memory_bytes": 150 << 30, "compute_capability": "9.0"}


def service(**changes: Any) -> dict[str, Any]:
    resolved: dict[str, Any] = {
        **words.defaults("engine_vllm"),
        "serve_address": "127.0.0.1",
        "serve_port": 8000,
        "serve_gpus": [],
        "serve_env": {},
        "serve_args": [],
        "unit": "vllm.service",
        "title": "vLLM",
        "health_path": "/health",
        "model_dir": "/var/lib/provision/models/huggingface/org--model/main",
        "served_name": "org/model",
        "url": "http://127.0.0.1:8000",
    }
    return {**resolved, **changes}


class Role:
    """Hold one host's variables as the role sees them."""

    def __init__(
        self, checkout: Path, gpus: list[dict[str, Any]], systemd: int, asked: dict[str, Any]
    ) -> None:
        loader = DataLoader()
        role = checkout / "roles/engine_vllm"
        variables = loader.load_from_file(str(role / "vars/main.yml"), trusted_as_template=True)
        facts = {
            "host_probe": {
                "gpus": gpus,
                "systemd": systemd,
                "memory_bytes": 23 << 30,
                "python": {"executable": "/usr/bin/python3"},
                "os": {"family": "debian"},
            },
            "python_envs": {f"vllm-{kind}": PYTHON[: -len("/bin/python")] for kind in ("cpu", "cuda")},
        }
        self.templar = Templar(loader, {**variables, "ansible_facts": facts, "service": asked})
        self.templates = checkout / "templates"

    def value(self, name: str) -> Any:
        return self.templar.template(trust_as_template("{{ " + name + " }}"))

    def file(self, name: str) -> str:
        given = {
            "engine_common_argv": self.value("__engine_vllm_argv"),
            "engine_common_environment": self.value("__engine_vllm_environment"),
            "engine_common_device": self.value("__engine_vllm_device"),
            "engine_common_user": "vllm",
            "engine_common_key_variable": "VLLM_API_KEY",
            "engine_common_start_timeout": 1800,
            "engine_common_executable_memory": True,
        }
        with_given = self.templar.copy_with_new_env(
            available_variables={**self.templar.available_variables, **given}
        )
        # As the lookup does it, which leaves the backslashes of Jinja's strings alone.
        template = trust_as_template((self.templates / name).read_text())
        return str(with_given.template(template, escape_backslashes=False))


@pytest.fixture
def role(checkout: Path) -> Any:
    def make(gpus: list[dict[str, Any]] | None = None, systemd: int = 257, **changes: Any) -> Role:
        return Role(checkout, gpus or [], systemd, service(**changes))

    return make


def unit(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",), delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_the_cpu_gets_what_runs_everywhere(role: Any) -> None:
    argv = role().value("__engine_vllm_argv")
    assert argv == [
        *(PYTHON, "-m", "vllm.entrypoints.openai.api_server"),
        *("--host", "127.0.0.1", "--port", "8000"),
        *("--model", "/var/lib/provision/models/huggingface/org--model/main"),
        *("--served-model-name", "org/model", "--dtype", "float32", "--enforce-eager"),
    ]


def test_typed_words_become_arguments_and_serve_args_come_last(role: Any) -> None:
    argv = role(
        [H200, {**H200, "index": 1}],
        serve_gpus=["0", "1"],
        engine_vllm_max_model_len=4096,
        engine_vllm_gpu_memory_utilization=0.8,
        engine_vllm_trust_remote_code=True,
        serve_args=["--seed", 7],
    ).value("__engine_vllm_argv")
    text = " ".join(argv)
    assert "--dtype auto --max-model-len 4096 --gpu-memory-utilization 0.8 --tensor-parallel-size 2" in text
    assert text.endswith("--trust-remote-code --seed 7")
    assert "--enforce-eager" not in argv


def test_the_environment_of_an_inventory_wins_but_not_over_the_sandbox(role: Any) -> None:
    environment = role(serve_env={"VLLM_NO_USAGE_STATS": "0", "HOME": "/root", "NEW": 1}).value(
        "__engine_vllm_environment"
    )
    assert environment["VLLM_NO_USAGE_STATS"] == "0"
    assert environment["NEW"] == 1
    assert environment["HOME"] == "/var/lib/provision/services/vllm"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == 2  # an eighth of 23 GiB


def test_gpus_are_limited_to_the_asked_ones(role: Any) -> None:
    asked = role([H200], serve_gpus=["GPU-1"]).value("__engine_vllm_environment")
    assert asked["CUDA_VISIBLE_DEVICES"] == "GPU-1"
    every = role([H200]).value("__engine_vllm_environment")
    assert "CUDA_VISIBLE_DEVICES" not in every
    assert "VLLM_CPU_KVCACHE_SPACE" not in every


def test_the_unit_of_a_cpu_host(role: Any) -> None:
    found = unit(role().file("engine.service.j2"))["Service"]
    assert found["Type"] == "exec"
    assert found["User"] == "vllm"
    assert found["KillMode"] == "control-group"
    assert found["Restart"] == "always"
    assert found["PrivateDevices"] == "yes"
    assert "DeviceAllow" not in found
    assert "MemoryDenyWriteExecute" not in found
    assert found["ExecStartPre"].startswith(
        '+"/usr/bin/python3" "/usr/local/lib/provision/serve-gate" "preflight"'
    )
    assert shlex.split(found["ExecStart"])[0] == PYTHON
    assert '"--key-variable" "VLLM_API_KEY"' in found["ExecStartPost"]


def test_the_engine_owns_no_directory_that_the_gate_writes(role: Any) -> None:
    assert "RuntimeDirectory" not in role().file("engine.service.j2")


def test_the_unit_of_a_gpu_host_can_open_the_gpu(role: Any) -> None:
    text = role([H200]).file("engine.service.j2")
    assert "PrivateDevices=" not in text
    assert "ProtectClock=" not in text  # it would close every device
    for device in ("char-nvidia", "char-nvidiactl", "char-nvidia-uvm", "char-nvidia-frontend"):
        assert f"DeviceAllow={device} rw\n" in text


def test_an_old_systemd_gets_what_it_knows(role: Any) -> None:
    text = role(systemd=239).file("engine.service.j2")
    assert "Type=simple\n" in text
    assert "RestartSteps" not in text
    assert "RestartSteps" in role(systemd=254).file("engine.service.j2")


def test_no_character_of_an_argument_is_taken_for_systemds(role: Any) -> None:
    awkward = ['{"a": "b c"}', "100%", "$HOME", "back\\slash"]
    text = role(serve_args=awkward).file("engine.service.j2")
    line = unit(text)["Service"]["ExecStart"]
    assert line.endswith('"{\\"a\\": \\"b c\\"}" "100%%" "$$HOME" "back\\\\slash"')


def test_a_model_in_a_home_directory_can_be_read(role: Any) -> None:
    text = role(model_dir="/home/me/model").file("engine.service.j2")
    assert "ProtectHome=read-only\n" in text
    assert "ProtectHome=yes\n" in role().file("engine.service.j2")


def test_environment_values_are_quoted_for_systemd(role: Any) -> None:
    text = role(serve_env={"ODD": 'a "b" \\ $c'}).file("engine.env.j2")
    assert 'ODD="a \\"b\\" \\\\ $c"\n' in text
    names = [line.split("=")[0] for line in text.splitlines() if not line.startswith("#")]
    assert names == sorted(names)


def test_two_services_of_a_host_share_no_directory(role: Any) -> None:
    first, second = role().file("engine.service.j2"), role(unit="vllm-b.service").file("engine.service.j2")
    for name in ("StateDirectory", "WorkingDirectory"):
        assert unit(first)["Service"][name] != unit(second)["Service"][name]
