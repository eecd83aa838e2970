# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import nvidia_nvml

# What Ansible's wrapper does on a host: our files and NVIDIA's bindings are in one package.
ASK = """
import json, sys
import ansible.module_utils, pynvml
ansible.module_utils.__path__.append(sys.argv[1])
sys.modules["ansible.module_utils.pynvml"] = pynvml
from ansible.module_utils import nvidia_nvml
print(json.dumps(nvidia_nvml.ask(float(sys.argv[2]))))
"""


def ask(nvml: dict[str, str], state: str, seconds: float = 60) -> dict[str, Any]:
    Path(nvml["SIMULATED_NVML"]).write_text(state)
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(Path(nvidia_nvml.__file__).parent), str(seconds)],
        env={**os.environ, **nvml},
        capture_output=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_reads_every_gpu(nvml: dict[str, str]) -> None:
    answer = ask(nvml, "gpus=2\nmemory=1000\nfree=400\nmig=1\ncapability=10.3\nname=NVIDIA B300\n")
    assert (answer["state"], answer["version"], answer["library"]) == ("ok", "580.95.05", "580.95.05")
    assert answer["lost"] == []
    assert answer["gpus"][1] == {
        "index": 1,
        "uuid": "GPU-00000000-0000-0000-0000-000000000001",
        "name": "NVIDIA B300",
        "memory_bytes": 1000,
        "free_bytes": 400,
        "compute_capability": "10.3",
        "pci": "0000:1c:00.0",
        "mig": True,
    }


def test_what_a_gpu_does_not_tell_is_left_out(nvml: dict[str, str]) -> None:
    (gpu,) = ask(nvml, "memory=-1\nmig=-1\n")["gpus"]
    assert (gpu["memory_bytes"], gpu["free_bytes"], gpu["mig"]) == (0, 0, None)


def test_a_lost_gpu_does_not_hide_the_others(nvml: dict[str, str]) -> None:
    answer = ask(nvml, "gpus=3\nlost=1\n")
    assert [gpu["index"] for gpu in answer["gpus"]] == [0, 2]
    assert answer["lost"] == ["GPU 1: GPU is lost"]


@pytest.mark.parametrize(
    ("state", "expected", "says"),
    [
        ("init=18\n", "mismatch", "version mismatch"),
        ("init=9\n", "not loaded", "Driver Not Loaded"),
        ("init=999\n", "failed", "Unknown Error"),
        ("crash=1\n", "failed", "broke off with signal 11"),
    ],
)
def test_each_failure_is_a_state_with_its_reason(
    nvml: dict[str, str], state: str, expected: str, says: str
) -> None:
    answer = ask(nvml, state)
    assert (answer["state"], answer["gpus"]) == (expected, [])
    assert says in answer["error"]


def test_a_library_that_hangs_is_left_behind(nvml: dict[str, str]) -> None:
    answer = ask(nvml, "hang=1\n", seconds=0.5)
    assert (answer["state"], answer["error"]) == ("hung", "NVML did not answer within 0.5 s")


def test_a_host_without_the_library_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nvidia_nvml, "LIBRARY", str(tmp_path / "libnvidia-ml.so.1"))
    answer = nvidia_nvml.ask(60)
    assert (answer["state"], answer["gpus"]) == ("no library", [])
    assert "libnvidia-ml.so.1" in answer["error"]


def test_missing_bindings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia_nvml, "LIBRARY", None)  # the program itself, which always loads
    monkeypatch.setitem(sys.modules, "ansible.module_utils.pynvml", None)
    answer = nvidia_nvml.ask(60)
    assert (answer["state"], answer["error"]) == ("failed", nvidia_nvml.NO_BINDINGS)


def test_a_fault_of_ours_is_told_and_not_swallowed() -> None:
    def broken() -> dict[str, Any]:
        raise ValueError("here")

    assert nvidia_nvml.ask(60, broken)["error"] == "ValueError('here')"


def test_whoever_waits_for_the_modules_output_does_not_wait_for_a_hung_child(tmp_path: Path) -> None:
    """A process that hangs in the driver cannot be killed; here it only ignores the parent's end."""
    script = f"""
import os, sys, time
import ansible.module_utils
ansible.module_utils.__path__.append({str(Path(nvidia_nvml.__file__).parent)!r})
from ansible.module_utils import nvidia_nvml
nvidia_nvml.os.kill = lambda *_: None
def hang():
    open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
    time.sleep(600)
print(nvidia_nvml.ask(0.5, hang)["state"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "hung\n"
    child = int((tmp_path / "pid").read_text())
    os.kill(child, signal.SIGKILL)


def test_a_large_answer_comes_whole() -> None:
    def many() -> dict[str, Any]:
        time.sleep(0)
        return {"state": "ok", "gpus": ["x" * 1000] * 1000}

    assert len(nvidia_nvml.ask(60, many)["gpus"]) == 1000
