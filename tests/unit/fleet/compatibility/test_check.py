# SPDX-License-Identifier: Apache-2.0
"""Combinations of words, and what the command says of each before it contacts a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.fleet import compatibility, engines, services, variables
from provisioner.fleet.findings import Finding
from provisioner.fleet.stack import Chain

VLLM = {"serve_engine": "vllm", "serve_model": "a/b"}
OLLAMA = {"serve_engine": "ollama", "serve_model": "qwen3:8b", "serve_model_source": "ollama"}
USUAL = "open modules where the GPU allows, held"
DATA = Path(__file__).resolve().parents[3] / "data/compatibility"


def resolve(**given: Any) -> tuple[Chain, list[Finding]]:
    short = {"versions", "default", "source", "runfile_sha256"}
    named = {f"cuda_toolkit_{key}" if key in short else key: value for key, value in given.items()}
    named = {f"nvidia_driver_{key[7:]}" if key.startswith("driver_") else key: v for key, v in named.items()}
    defaults = {name: variables.defaults(engine.role) for name, engine in engines.load().items()}
    return compatibility.resolve(named, services.resolve(named, defaults).services)


def reasons(**given: Any) -> list[str]:
    _, findings = resolve(**given)
    return [f"{one.variable}: {one.reason}; {one.hint}" for one in findings]


def cases(name: str) -> Any:
    """Return a table"""
    return yaml.safe_load((DATA / f"{name}.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("given", cases("fine"), ids=str)
def test_what_goes_together_is_let_through(given: dict[str, Any]) -> None:
    assert reasons(**given) == []


@pytest.mark.parametrize("case", cases("wrong"), ids=lambda case: str(case["given"]))
def test_what_cannot_work_is_refused_with_word_and_fix(case: dict[str, Any]) -> None:
    (said,) = reasons(**case["given"])
    assert said.startswith(case["says"])


@pytest.mark.parametrize("case", cases("tight"), ids=lambda case: str(case["given"]))
def test_what_is_tight_deserves_a_note(case: dict[str, Any]) -> None:
    chain, findings = resolve(**case["given"])
    assert findings == []
    assert [note.startswith(case["says"]) for note in chain.notes] == [True]


def test_everything_wrong_is_said_at_once() -> None:
    found = reasons(driver_version="535", versions=["13.0", "12"], default="11.8", **VLLM)
    assert [one.partition(":")[0] for one in found] == [
        "cuda_toolkit_versions",
        "cuda_toolkit_default",
        "cuda_toolkit_versions",
        "nvidia_driver_version",
    ]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"driver_version": "580", "versions": ["13.0", "12.9"], **VLLM},
            f"driver 580 ({USUAL}) · CUDA toolkit 13.0, 12.9 · vLLM contains CUDA 13 (driver ≥ 580)",
        ),
        (
            {"driver_modules": "proprietary", "driver_version": "580.178.04", "driver_hold": False, **OLLAMA},
            "driver 580.178.04 (proprietary modules) · no CUDA toolkit · Ollama contains CUDA 12 or 13",
        ),
        ({"driver_state": "ignored"}, "driver left as it is · no CUDA toolkit"),
        ({"driver_version": "550"}, "driver 550 (proprietary modules where the GPU allows, held)"),
        ({"driver_version": "470"}, "driver 470 (proprietary modules, held)"),
        ({"driver_version": "620"}, "driver 620 (open modules, held)"),
        ({"driver_state": "absent", "versions": ["12.9"]}, "no driver · CUDA toolkit 12.9"),
        (
            {"driver_version": "{{ b }}", "versions": "{{ v }}"},
            "driver decided at run time · CUDA toolkit decided at run time",
        ),
        (
            {**VLLM, "engine_vllm_requirements": "/own.txt"},
            f"driver that works, else 580 ({USUAL}) · no CUDA toolkit · vLLM (not the standard build",
        ),
        (
            {**VLLM, "engine_vllm_device": "cpu", "driver_version": "580"},
            "driver 580 (open modules where the GPU",
        ),
    ],
    ids=str,
)
def test_the_chain_is_one_line(given: dict[str, Any], text: str) -> None:
    chain, _ = resolve(**given)
    assert str(chain).startswith(text)
    assert len(str(chain).splitlines()) == 1


def test_the_document_has_the_facts_and_where_they_were_read() -> None:
    chain, _ = resolve(driver_version="580", driver_modules="open", versions=["13.1"], **VLLM)
    document = chain.to_json()
    assert document["driver"]["branch"] == 580
    assert document["cuda_toolkit"]["versions"] == ("13.1",)
    assert document["engines"][0]["minimum_compute_capability"] == "7.5"
    assert {"statement", "source"} == set(document["reasons"][0])
    said = {reason["statement"]: reason["source"] for reason in document["reasons"]}
    assert "minor-version-compatibility" in said["CUDA 13 needs driver 580 or newer"]
    assert said["CUDA 13.1 was made with driver 590.44.01"] == "cuda_13.1.0_590.44.01_linux.run"
    assert said["vLLM needs driver 580 or newer"] == "roles/engine_vllm/engine.yml"
    assert "open kernel modules came with branch 515" in said
    assert document["notes"] == list(chain.notes)
    assert len(chain.notes) == 1
