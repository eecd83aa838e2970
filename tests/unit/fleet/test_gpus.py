# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner.fleet import engines, files, gpus, rules, variables
from provisioner.fleet.gpus import Present

VLLM = {"serve_engine": "vllm", "serve_model": "a/b"}
LLAMACPP = {"serve_engine": "llamacpp", "serve_model": "a/b-GGUF"}
FOUND = Present(2, "the host has 2 GPUs")


def said(base: dict[str, str], present: Present | None = None, **more: Any) -> list[str]:
    defaults = {name: variables.defaults(engine.role) for name, engine in engines.load().items()}
    found = rules.resolve({**base, **more}, defaults, Path("/nowhere"), present).findings
    return [f"{one.variable}: {one.reason}" for one in found]


@pytest.mark.parametrize(
    ("base", "more", "says"),
    [
        (
            VLLM,
            {"serve_gpus": ["8"]},
            "serve_gpus: contains 8, but there are the GPUs 0 to 7 (nvidia_driver_gpus_expected = 8)",
        ),
        (
            VLLM,
            {"serve_gpus": ["0", "1"], "engine_vllm_tensor_parallel_size": 4},
            "engine_vllm_tensor_parallel_size: needs 4 GPUs, but the service has 2 (serve_gpus = 0, 1)",
        ),
        (
            VLLM,
            {"engine_vllm_tensor_parallel_size": 16},
            "engine_vllm_tensor_parallel_size: needs 16 GPUs, but the service has 8 (nvidia_driver",
        ),
        (
            LLAMACPP,
            {"serve_gpus": ["0", "1"], "engine_llamacpp_tensor_split": "3,1,1"},
            "engine_llamacpp_tensor_split: needs 3 GPUs, but the service has 2",
        ),
        (
            LLAMACPP,
            {"serve_gpus": ["6", "7"], "engine_llamacpp_main_gpu": 2},
            "engine_llamacpp_main_gpu: needs 3 GPUs, but the service has 2",
        ),
        (
            LLAMACPP,
            {"engine_llamacpp_main_gpu": 8},
            "engine_llamacpp_main_gpu: needs 9 GPUs, but the service has 8",
        ),
    ],
)
def test_gpus_that_are_not_there_are_refused_before_a_host_is_contacted(
    base: dict[str, str], more: dict[str, Any], says: str
) -> None:
    (found,) = said(base, nvidia_driver_gpus_expected=8, **more)
    assert found.startswith(says)


@pytest.mark.parametrize(
    "more",
    [
        {"serve_gpus": ["7", "GPU-8a56", "0000:1b:00.0"]},
        {"engine_vllm_tensor_parallel_size": 8},
        {"serve_gpus": ["0", "1"], "engine_vllm_tensor_parallel_size": 2},
        {"engine_vllm_tensor_parallel_size": "{{ later }}"},
        {"serve_gpus": ["{{ later }}"], "engine_vllm_tensor_parallel_size": 4},
        # On the CPU, it is the number of sockets.
        {"engine_vllm_device": "cpu", "engine_vllm_tensor_parallel_size": 16},
    ],
)
def test_gpus_that_may_be_there_are_let_through(more: dict[str, Any]) -> None:
    assert said(VLLM, nvidia_driver_gpus_expected=8, **more) == []
    assert said(VLLM, **more) == []


def test_what_the_probe_found_is_known_before_anything_is_installed() -> None:
    (found,) = said(VLLM, FOUND, serve_gpus=["2"])
    assert found == "serve_gpus: contains 2, but there are the GPUs 0 to 1 (the host has 2 GPUs)"
    (found,) = said(VLLM, FOUND, engine_vllm_tensor_parallel_size=4)
    assert found.endswith("needs 4 GPUs, but the service has 2 (the host has 2 GPUs)")


def test_gpus_count_before_their_driver_is_installed_and_those_of_a_virtual_machine_do_not() -> None:
    gpu = {"kind": "gpu", "driver": None}
    bus = [gpu, {**gpu, "driver": "vfio-pci"}, {"kind": "nvswitch", "driver": None}]
    assert gpus.found({"nvidia_pci": bus, "gpus": []}) == Present(1, "the host has 1 GPU")
    assert gpus.found({"nvidia_pci": [], "gpus": [{}, {}]}) == FOUND
    assert gpus.found({"nvidia_pci": [], "gpus": []}) is None
    assert gpus.found({}) is None


def test_a_port_of_0_is_no_port() -> None:
    (found,) = said(VLLM, serve_port=0)
    assert found.startswith("serve_port: must be between 1024 and 65535")


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("engine_vllm_requirements", "own.txt", "must be an absolute path on this machine"),
        ("engine_vllm_requirements", "/nowhere/own.txt", "there is no such file on this machine"),
        ("nvidia_driver_repository_key_file", "key.pub", "must be an absolute path on this machine"),
        ("python_env_conda_prefix", "opt/conda", "must be an absolute path on the host"),
    ],
)
def test_a_path_that_depends_on_the_current_folder_is_refused(variable: str, value: str, says: str) -> None:
    assert [one.reason for one in files.paths({variable: value})] == [says]
