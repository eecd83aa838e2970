# SPDX-License-Identifier: Apache-2.0
"""Resolve what engine_ollama writes and asks, with Ansible's own templating."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from provisioner.fleet import variables as words
from tests.contract import tree
from tests.unit import engine_roles

ROLE = tree.ROOT / "roles/engine_ollama"
GPUS = [
    {
        "index": number,
        "uuid": f"GPU-{letter}",
        "name": "H200",
        "compute_capability": "9.0",
        "pci": f"0000:1{letter}:00.0",
    }
    for number, letter in enumerate("abc")
]


def value(name: str, gpus: list[dict[str, Any]] | None = None, **changes: Any) -> Any:
    """Return a variable of the role for a service with these words."""
    loader = DataLoader()
    variables = engine_roles.load(ROLE / "vars/main.yml")
    variables["__engine_ollama_metadata"] = engine_roles.load(ROLE / "engine.yml")
    variables["__engine_ollama_pins"] = engine_roles.load(ROLE / "files/archives.yml")
    service = {
        **words.defaults("engine_ollama"),
        "engine_ollama_models_dir": "/models/ollama",
        "unit": "ollama@chat.service",
        "engine": "ollama",
        "title": "Ollama",
        "serve_address": "127.0.0.1",
        "serve_port": 11435,
        "serve_gpus": [],
        "serve_env": {},
        "serve_task": "auto",
        "tasks": ["generate"],
        **changes,
    }
    probe = {
        "gpus": gpus or [],
        "os": {"arch": "aarch64"},
        "driver": engine_roles.driver(),
        "nvidia_pci": [],
    }
    given = {**variables, "ansible_facts": {"host_probe": probe}, "service": service, "inventory_dir": "/inv"}
    given["engine_common_device_result"] = engine_roles.choose("engine_ollama", Templar(loader, given))
    return Templar(loader, given).template(trust_as_template("{{ " + name + " }}"))


def environment(gpus: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = value("__engine_ollama_environment", gpus, **changes)
    return found


def test_writes_what_is_set_and_leaves_the_rest_to_ollama() -> None:
    assert environment() == {
        "HOME": "/var/lib/provision/services/ollama@chat",
        "OLLAMA_HOST": "127.0.0.1:11435",
        "OLLAMA_MODELS": "/models/ollama",
        "OLLAMA_KV_CACHE_TYPE": "f16",
        "OLLAMA_NOPRUNE": "1",
        "OLLAMA_NO_CLOUD": "1",
        "OLLAMA_VULKAN": "0",
        "CUDA_VISIBLE_DEVICES": "-1",
    }


@pytest.mark.parametrize(
    ("word", "given", "variable", "written"),
    [
        ("num_parallel", 3, "OLLAMA_NUM_PARALLEL", "3"),
        ("max_loaded_models", 0, "OLLAMA_MAX_LOADED_MODELS", "0"),
        ("flash_attention", False, "OLLAMA_FLASH_ATTENTION", "0"),
        ("keep_alive", "-1", "OLLAMA_KEEP_ALIVE", "-1"),
        ("origins", ["https://a.example", "*"], "OLLAMA_ORIGINS", "https://a.example,*"),
        ("fit", False, "LLAMA_ARG_FIT", "0"),
        ("debug", 2, "OLLAMA_DEBUG", "2"),
    ],
)
def test_writes_every_type_as_go_reads_it(word: str, given: Any, variable: str, written: str) -> None:
    assert environment(**{f"engine_ollama_{word}": given})[variable] == written


def test_every_variable_has_a_word_of_its_own() -> None:
    known = tree.mapping(ROLE / "engine.yml")["environment"]["variables"]
    assert len(set(known.values())) == len(known)
    assert set(known.values()) <= set(tree.options(ROLE, "main"))


def test_gpus_are_named_by_what_every_library_understands() -> None:
    assert "CUDA_VISIBLE_DEVICES" not in environment(GPUS)
    assert environment(GPUS, serve_gpus=["2", "GPU-a"])["CUDA_VISIBLE_DEVICES"] == "GPU-c,GPU-a"
    assert environment(GPUS, engine_ollama_device="cpu")["CUDA_VISIBLE_DEVICES"] == "-1"


def test_an_address_of_ipv6_is_bracketed() -> None:
    assert environment(serve_address="::1")["OLLAMA_HOST"] == "[::1]:11435"


def test_the_archive_is_that_of_version_and_architecture() -> None:
    assert str(value("__engine_ollama_url")).endswith("/v0.33.0/ollama-linux-arm64.tar.zst")
    assert str(value("__engine_ollama_sha256")).startswith("c09f5ae1")
    assert value("__engine_ollama_sha256", engine_ollama_version="0.31.0") == ""
    assert value("__engine_ollama_sha256", engine_ollama_sha256="f" * 64) == "f" * 64


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("5m", "5m0s"),
        ("24h", "24h0m0s"),
        ("90", "1m30s"),
        ("30s", "30s"),
        ("0", "0s"),
        ("-1", "2562047h47m16.854775807s"),
        (90, "1m30s"),
        ("1h30m", None),
        ("", None),
        (None, None),
    ],
)
def test_asks_for_the_keep_alive_as_ollama_reports_it(given: object, asked: str | None) -> None:
    settings = value("__engine_ollama_settings", engine_ollama_keep_alive=given)
    assert [item["requested"] for item in settings if item["name"] == "keep-alive"] == [asked]


def asked(**changes: Any) -> dict[str, Any]:
    return {item["name"]: item["requested"] for item in value("__engine_ollama_settings", **changes)}


def test_asks_of_the_check_what_the_inventory_asks() -> None:
    found = asked(
        engine_ollama_num_parallel=3, engine_ollama_context_length=2048, engine_ollama_flash_attention=True
    )
    assert (found["slots"], found["context"], found["flash attention"]) == (3, 2048, "on")
    assert (found["version"], found["cache type"], found["keep-alive"]) == ("0.33.0", "f16", None)
    assert asked()["slots"] == 1
    assert (
        asked(engine_ollama_version="0.17.4", engine_ollama_flash_attention=False)["flash attention"]
        == "false"
    )


def test_a_context_of_the_model_goes_before_that_of_the_server() -> None:
    words_of_both = {"engine_ollama_context_length": 2048, "engine_ollama_parameters": {"num_ctx": 512}}
    assert asked(**words_of_both)["context"] == 512
    assert asked(engine_ollama_context_length=2048, engine_ollama_modelfile="m")["context"] is None


def test_a_relative_modelfile_starts_at_the_inventory() -> None:
    models = [{"name": "a", "modelfile": "/abs/b"}, {"name": "c"}]
    found = value(
        "__engine_ollama_modelfile_files", engine_ollama_modelfile="m/a", engine_ollama_models=models
    )
    assert found == ["/inv/m/a", "/abs/b"]
