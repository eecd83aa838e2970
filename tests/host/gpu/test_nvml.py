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
from ansible.module_utils.provision.gpu import nvml as nvidia_nvml

# What Ansible's wrapper does on a host: our files and NVIDIA's bindings are in one package.
ASK = """
import json, sys
import ansible.module_utils, pynvml
ansible.module_utils.__path__.append(sys.argv[1])
sys.modules["ansible.module_utils.pynvml"] = pynvml
from ansible.module_utils.provision.gpu import nvml as nvidia_nvml
read = lambda: nvidia_nvml.look(with_programs=sys.argv[3] == "programs")
print(json.dumps(nvidia_nvml.ask(float(sys.argv[2]), read)))
"""


def ask(nvml: dict[str, str], state: str, seconds: float = 60, more: str = "") -> dict[str, Any]:
    Path(nvml["SIMULATED_NVML"]).write_text(state)
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(Path(nvidia_nvml.__file__).parents[2]), str(seconds), more],
        env={**os.environ, **nvml},
        capture_output=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_reads_every_gpu(nvml: dict[str, str]) -> None:
    sizes = "memory=1000\nfree=400\nbusy=7\ncelsius=61\necc=3\npersistence=1\npower_limit=699900\n"
    answer = ask(nvml, f"gpus=2\nmig=1\ncapability=10.3\nname=NVIDIA B300\n{sizes}")
    assert (answer["state"], answer["version"], answer["library"]) == ("ok", "580.95.05", "580.95.05")
    assert answer["cuda"] == "13.0"
    assert answer["lost"] == []
    assert answer["gpus"][1].pop("uuid").startswith("GPU-")
    assert answer["gpus"][1] == {
        "index": 1,
        "name": "NVIDIA B300",
        "memory_bytes": 1000,
        "free_bytes": 400,
        "compute_capability": "10.3",
        "pci": "0000:1c:00.0",
        "mig": True,
        "mig_devices": [],
        "ecc_uncorrected": 3,
        "persistence": True,
        "celsius": 61,
        "busy_percent": 7,
        "power_limit_watts": 700,
    }


def test_lists_the_parts_of_a_divided_gpu_and_of_no_other(nvml: dict[str, str]) -> None:
    (gpu,) = ask(nvml, "mig=1\nmig_devices=2\n")["gpus"]
    assert [uuid[:4] for uuid in gpu["mig_devices"]] == ["MIG-", "MIG-"]
    assert len(set(gpu["mig_devices"])) == 2
    assert ask(nvml, "mig=0\nmig_devices=2\n")["gpus"][0]["mig_devices"] is None


def test_lists_the_programs_on_a_gpu_only_when_asked(nvml: dict[str, str]) -> None:
    (gpu,) = ask(nvml, "process=4711:1024\n", more="programs")["gpus"]
    assert gpu["programs"] == [{"pid": 4711, "bytes": 1024}]
    assert "programs" not in ask(nvml, "process=4711:1024\n")["gpus"][0]


def test_what_a_gpu_does_not_tell_is_left_out(nvml: dict[str, str]) -> None:
    (gpu,) = ask(nvml, "memory=-1\nmig=-1\necc=-1\n")["gpus"]
    assert (gpu["memory_bytes"], gpu["free_bytes"], gpu["mig"]) == (0, 0, None)
    assert (gpu["mig_devices"], gpu["ecc_uncorrected"]) == (None, None)


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
ansible.module_utils.__path__.append({str(Path(nvidia_nvml.__file__).parents[2])!r})
from ansible.module_utils.provision.gpu import nvml as nvidia_nvml
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


def test_a_process_that_answers_and_then_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing the driver's devices can hang after the answer; the answer counts all the same."""
    monkeypatch.setattr(nvidia_nvml, "END_SECONDS", 0)
    left: list[int] = []
    real = os.waitpid

    def never(child: int, options: int) -> tuple[int, int]:
        assert options == os.WNOHANG
        left.append(child)
        return 0, 0

    monkeypatch.setattr(nvidia_nvml.os, "waitpid", never)
    assert nvidia_nvml.ask(60, lambda: {"state": "ok"}) == {"state": "ok"}
    real(left[0], 0)


def test_a_large_answer_comes_whole() -> None:
    def many() -> dict[str, Any]:
        time.sleep(0)
        return {"state": "ok", "gpus": ["x" * 1000] * 1000}

    assert len(nvidia_nvml.ask(60, many)["gpus"]) == 1000
