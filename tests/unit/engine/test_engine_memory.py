# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import engine_memory, engine_processes, engine_unit
from ansible.module_utils.engine_client import Engine
from ansible.module_utils.engine_memory import GIBIBYTE, Memory
from ansible.module_utils.engine_settings import Running
from ansible.module_utils.engine_unit import UnitError, UnitStatus

GROUP = "/system.slice/ollama.service"
STATUS = UnitStatus(True, "active", "running", True, "success", 1, 0, False, "first", 900.0, GROUP)
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.159\n"
ON_CPU = Memory(0, 10 * GIBIBYTE)


@dataclass
class Driver:
    """Stand in for the driver's tool and the device files."""

    devices: Path
    cards: str = "0, 70000, 81559\n"
    programs: str = ""
    status: int = 0
    asked: list[str] = field(default_factory=list)

    def __call__(self, *words: str, seconds: float) -> subprocess.CompletedProcess[str]:
        del seconds
        self.asked.append(words[1])
        text = self.cards if words[1].startswith("--query-gpu") else self.programs
        return subprocess.CompletedProcess(words, self.status, text, "")


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver(tmp_path)
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o666)
    monkeypatch.setattr(engine_memory, "DEVICES", tmp_path)
    monkeypatch.setattr(engine_unit, "call", made)
    return made


def reason(memory: Memory | None = ON_CPU) -> tuple[str, str]:
    found = engine_memory.reason(memory)
    return (found.meaning, found.next_step) if found else ("", "")


def test_a_driver_that_was_replaced_under_the_running_kernel(driver: Driver) -> None:
    driver.cards, driver.status = MISMATCH, 18
    meaning, step = reason()
    assert "different versions (Failed to initialize NVML: Driver/library version mismatch" in meaning
    assert "reboot" in step


def test_a_missing_uvm_device(driver: Driver) -> None:
    (driver.devices / "nvidia-uvm").unlink()
    meaning, step = reason()
    assert meaning.startswith("/dev/nvidia-uvm is missing")
    assert "modprobe nvidia_uvm" in step


def test_a_driver_that_does_not_answer(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.cards, driver.status = "No devices were found\n", 6
    assert reason()[0] == "nvidia-smi does not answer (No devices were found)"

    def missing(*_: str, seconds: float) -> None:
        raise UnitError(f"nvidia-smi did not end within {seconds:.0f} s", "")

    monkeypatch.setattr(engine_unit, "call", missing)
    assert reason()[0] == "nvidia-smi does not answer (nvidia-smi did not end within 60 s)"


def test_a_device_that_the_engines_user_may_not_open(driver: Driver) -> None:
    (driver.devices / "nvidia0").chmod(0o660)
    meaning, step = reason()
    assert meaning.endswith("nvidia0 may be opened by its owner and group alone (mode 660)")
    assert "group" in step


def test_too_little_free_memory_names_who_holds_it(driver: Driver) -> None:
    driver.cards = "0, 2048, 81920\n1, 1024, 81920\n"
    driver.programs = "500, Xorg, 9\n76800, /opt/provision/envs/vllm-cuda-0/bin/python, 1234\n"
    meaning, step = reason()
    assert meaning == (
        "there was not enough free GPU memory: "
        "GPU 0 has 2.0 of 80.0 GiB free, GPU 1 has 1.0 of 80.0 GiB free; "
        "held by python (pid 1234) 75.0 GiB, Xorg (pid 9) 0.5 GiB"
    )
    assert "smaller model" in step


@pytest.mark.usefixtures("driver")
def test_what_is_there_in_part_did_not_fit() -> None:
    assert reason(Memory(GIBIBYTE, 2 * GIBIBYTE))[0].startswith("there was not enough free GPU memory")
    assert reason(Memory(20, 33, "layers"))[0].startswith("there was not enough free GPU memory")


def test_a_gpu_with_room_gives_no_reason(driver: Driver) -> None:
    assert reason() == ("", "")
    assert reason(Memory(0, 33, "layers")) == ("", "")
    assert reason(None) == ("", "")
    assert all(word.startswith("--query-gpu") for word in driver.asked)


@pytest.fixture
def running(engine: Any, monkeypatch: pytest.MonkeyPatch) -> Running:
    lines = ["offloaded 0/33 layers to GPU", "offloaded 30/33 layers to GPU", "ready"]
    monkeypatch.setattr(engine_unit, "journal", lambda *_: lines)
    return Running(Engine(engine.url), "org/model", STATUS)


def test_reads_the_engines_own_account(running: Running, engine: Any) -> None:
    asked = {"get": "/api/ps", "total": "models.*.size", "on_gpu": "models.*.size_vram"}
    engine.pages["/api/ps"] = {"models": [{"name": "org/model", "size": 3 * GIBIBYTE, "size_vram": GIBIBYTE}]}
    found = engine_memory.look(asked, running)
    assert found is not None
    assert (found.describe(), found.is_whole) == ("1.0 of 3.0 GiB of the model", False)


def test_a_model_that_is_not_loaded_has_no_account(running: Running, engine: Any) -> None:
    asked = {"get": "/api/ps", "total": "models.*.size", "on_gpu": "models.*.size_vram"}
    engine.pages["/api/ps"] = {"models": []}
    assert engine_memory.look(asked, running) is None


def test_reads_the_last_account_of_the_journal(running: Running) -> None:
    found = engine_memory.look({"journal": r"offloaded (\d+)/(\d+) layers"}, running)
    assert found is not None
    assert (found.describe(), found.is_whole) == ("30 of 33 layers of the model", False)
    assert engine_memory.look({"journal": r"never (\d+)/(\d+)"}, running) is None


def test_finds_who_of_a_service_has_a_gpu_open(tmp_path: Path) -> None:
    for pid, target in ((7, "/dev/nvidia0"), (8, "/dev/null"), (9, "/dev/nvidiactl")):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "fd/3").symlink_to(target)
        (tmp_path / str(pid) / "cgroup").write_text(f"0::{GROUP}\n")
        (tmp_path / str(pid) / "cmdline").write_bytes(b"engine\0")
    assert engine_processes.nvidia_users(GROUP, tmp_path) == [7]
    assert engine_processes.nvidia_users("/system.slice/other.service", tmp_path) == []
