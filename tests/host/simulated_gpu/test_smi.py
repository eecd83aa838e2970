# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from simulated_gpu import build


@pytest.fixture(scope="module")
def smi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler here, so there is no simulated nvidia-smi")
    source = build.SOURCES / "source"
    program = tmp_path_factory.mktemp("smi") / "nvidia-smi"
    files = [source / name for name in ("smi.c", "nvml.c", "nvml_health.c")]
    subprocess.run([compiler, "-Wall", "-Wextra", "-Werror", "-o", program, *files], check=True)
    return program


def ask(smi: Path, state: str, *words: str) -> tuple[int, str]:
    file = smi.with_name("state")
    file.write_text(state)
    done = subprocess.run(
        [smi, *words], env={"SIMULATED_NVML": str(file)}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def test_nvidia_smi_says_that_it_is_simulated(smi: Path) -> None:
    code, said = ask(smi, "driver=580.159.04\n")
    assert code == 0
    assert "simulated driver" in said
    assert "Driver Version: 580.159.04" in said


def test_nvidia_smi_answers_queries(smi: Path) -> None:
    words = ("--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits")
    assert ask(smi, "device_ids=0x2330,0x1db6\n", *words) == (
        0,
        "0, NVIDIA H100 80GB HBM3, 81559\n1, Tesla V100-PCIE-32GB, 32768\n",
    )


@pytest.mark.parametrize(
    ("state", "code", "says"),
    [
        ("init=9\n", 9, "couldn't communicate with the NVIDIA driver"),
        ("init=18\n", 18, "Driver/library version mismatch"),
        ("missing=1\n", 6, "No devices were found"),
    ],
)
def test_nvidia_smi_fails_as_the_real_one(smi: Path, state: str, code: int, says: str) -> None:
    found = ask(smi, state)
    assert found[0] == code
    assert says in found[1]
