# SPDX-License-Identifier: Apache-2.0
"""`provision plan` shows the chain of each host once, and refuses what cannot work with exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from provisioner.cli import main

FLEET = """\
[gpu]
gpu1
gpu2
[gpu:vars]
serve_engine=vllm
serve_model=a/b
serve_model_revision=0123456789abcdef
nvidia_driver_version=580
cuda_toolkit_versions=["13.1"]
[cpu]
cpu1 serve_engine=vllm serve_model=a/b serve_model_revision=0123456789abcdef engine_vllm_device=cpu
"""


def run(path: Path, text: str, *words: str) -> int:
    path.write_text(text)
    with pytest.raises(SystemExit) as ended:
        main.main(["plan", str(path), *words])
    return int(ended.value.code or 0)


def test_equal_hosts_share_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "fleet.ini", FLEET) == 0
    said = capsys.readouterr().out
    chain = "CUDA toolkit 13.1 · vLLM contains CUDA 13 (driver ≥ 580)"
    assert f"gpu1, gpu2: driver 580 (open modules where the GPU allows, held) · {chain}\n" in said
    assert "cpu1: driver that works, else 580 (open modules where the GPU allows, held) · no CUDA" in said
    assert "note: CUDA toolkit 13.1 was made with driver 590.44.01" in said
    assert "on gpu1, gpu2" in said


def test_the_document_has_it_for_every_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "fleet.ini", FLEET, "--json") == 0
    hosts = {host["name"]: host["compatibility"] for host in json.loads(capsys.readouterr().out)["hosts"]}
    assert hosts["gpu1"] == hosts["gpu2"]
    assert hosts["gpu1"]["text"].startswith("driver 580")
    assert hosts["cpu1"]["engines"] == []


def test_what_cannot_work_is_an_error_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = FLEET.replace("version=580", "version=570")
    assert run(tmp_path / "fleet.ini", text) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "2 problems" in said
    assert "nvidia_driver_version" in said
    assert "is too old for vllm.service" in said
    assert "engine_vllm_device: cpu" in said
    assert "gpu1, gpu2" in said
    assert "fleet.ini:8" in said
