# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.engine import memory as engine_memory
from ansible.module_utils.provision.engine import processes
from ansible.module_utils.provision.engine.client import Engine
from ansible.module_utils.provision.engine.memory import GIBIBYTE, Memory
from ansible.module_utils.provision.engine.settings import Running
from ansible.module_utils.provision.gpu import nvml

from tests.unit.engine.conftest import SERVING
from tests.unit.fakes import Systemd

GROUP = "/system.slice/ollama.service"
STATUS = replace(SERVING, control_group=GROUP)
ON_CPU = Memory(0, 10 * GIBIBYTE)


def card(index: int, free: float, total: float, *programs: tuple[int, float | None]) -> dict[str, Any]:
    """Return a GPU with its memory in GiB, and the programs on it."""
    held = [{"pid": pid, "bytes": None if size is None else round(size * GIBIBYTE)} for pid, size in programs]
    sizes = {"free_bytes": round(free * GIBIBYTE), "memory_bytes": round(total * GIBIBYTE)}
    return {"index": index, **sizes, "programs": held}


@dataclass
class Driver:
    """Stand in for what NVML says, and for the device files."""

    devices: Path
    cards: list[dict[str, Any]] = field(default_factory=lambda: [card(0, 68.0, 80.0)])
    state: str = "ok"
    error: str | None = None
    lost: list[str] = field(default_factory=list)

    def __call__(self, _seconds: float, _read: Any) -> dict[str, Any]:
        gpus = self.cards if self.state == "ok" else []
        return {"state": self.state, "error": self.error, "gpus": gpus, "lost": self.lost}


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver(tmp_path)
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o666)
    monkeypatch.setattr(engine_memory, "DEVICES", tmp_path)
    monkeypatch.setattr(processes, "PROC", tmp_path)
    monkeypatch.setattr(nvml, "ask", made)
    return made


def reason(memory: Memory | None = ON_CPU) -> tuple[str, str]:
    return engine_memory.reason(memory) or ("", "")


def test_a_driver_that_was_replaced_under_the_running_kernel(driver: Driver) -> None:
    driver.state, driver.error = "mismatch", "Driver/library version mismatch"
    meaning, step = reason()
    assert meaning.endswith("have different versions (Driver/library version mismatch)")
    assert "reboot" in step


def test_a_missing_uvm_device(driver: Driver) -> None:
    (driver.devices / "nvidia-uvm").unlink()
    meaning, step = reason()
    assert meaning.startswith("/dev/nvidia-uvm is missing")
    assert "modprobe nvidia_uvm" in step


def test_a_driver_that_offers_nothing(driver: Driver) -> None:
    driver.state, driver.error = "hung", "NVML did not answer within 60 s"
    assert reason()[0] == "the NVIDIA driver offers no GPU (NVML did not answer within 60 s)"
    driver.state, driver.error, driver.cards, driver.lost = "ok", None, [], ["GPU 0: GPU is lost"]
    assert reason()[0] == "the NVIDIA driver offers no GPU (GPU 0: GPU is lost)"
    driver.lost = []
    assert reason()[0] == "the NVIDIA driver offers no GPU (it lists none)"


def test_a_device_that_the_engines_user_may_not_open(driver: Driver) -> None:
    (driver.devices / "nvidia0").chmod(0o660)
    meaning, step = reason()
    assert meaning.endswith("nvidia0 can open it (mode 660)")
    assert "group" in step


def test_too_little_free_memory_names_who_holds_it(driver: Driver, tmp_path: Path) -> None:
    driver.cards = [card(0, 2, 80, (9, 0.5), (1234, 75), (7, None)), card(1, 1, 80)]
    (tmp_path / "1234").mkdir()
    (tmp_path / "1234/cmdline").write_bytes(b"/opt/provision/envs/vllm-cuda-0/bin/python\0-m\0vllm\0")
    meaning, step = reason()
    assert meaning == (
        "there was not enough free GPU memory: "
        "GPU 0 has 2.0 of 80.0 GiB free, GPU 1 has 1.0 of 80.0 GiB free; "
        "held by python (pid 1234) 75.0 GiB, a program (pid 9) 0.5 GiB"
    )
    assert "smaller model" in step


@pytest.mark.usefixtures("driver")
def test_what_is_there_in_part_did_not_fit() -> None:
    assert reason(Memory(GIBIBYTE, 2 * GIBIBYTE))[0].startswith("there was not enough free GPU memory")
    assert reason(Memory(20, 33, "layers"))[0].startswith("there was not enough free GPU memory")


@pytest.mark.usefixtures("driver")
def test_a_gpu_with_room_gives_no_reason() -> None:
    assert reason() == ("", "")
    assert reason(Memory(0, 33, "layers")) == ("", "")
    assert reason(None) == ("", "")


def test_a_gpu_that_does_not_tell_its_memory_gives_no_reason(driver: Driver) -> None:
    driver.cards = [card(0, 0, 0)]
    assert reason() == ("", "")


def test_adds_up_what_a_service_holds_of_each_gpu(driver: Driver) -> None:
    driver.cards = [card(0, 1, 80, (7, 40), (8, 30), (9, 5)), card(1, 1, 80, (8, 20)), card(2, 80, 80)]
    assert engine_memory.held([7, 8]) == "70.0 GiB of GPU 0 and 20.0 GiB of GPU 1"
    assert engine_memory.held([5]) == ""
    driver.state = "hung"
    assert engine_memory.held([7]) == ""


@pytest.fixture
def running(engine: Any, systemd: Systemd) -> Running:
    systemd.journal = ["offloaded 0/33 layers to GPU", "offloaded 30/33 layers to GPU", "ready"]
    return Running(Engine(engine.url), "org/model", STATUS)


def test_reads_the_engines_own_account(running: Running, engine: Any) -> None:
    asked = {"get": "/api/ps", "total": "models.*.size", "on_gpu": "models.*.size_vram"}
    engine.pages["/api/ps"] = {"models": [{"name": "org/model", "size": 3 * GIBIBYTE, "size_vram": GIBIBYTE}]}
    found = engine_memory.read(asked, running)
    assert found is not None
    assert (found.describe(), found.is_whole) == ("1.0 of 3.0 GiB of the model", False)


def test_a_model_that_is_not_loaded_has_no_account(running: Running, engine: Any) -> None:
    asked = {"get": "/api/ps", "total": "models.*.size", "on_gpu": "models.*.size_vram"}
    engine.pages["/api/ps"] = {"models": []}
    assert engine_memory.read(asked, running) is None


def test_reads_the_last_account_of_the_journal(running: Running) -> None:
    found = engine_memory.read({"journal": r"offloaded (\d+)/(\d+) layers"}, running)
    assert found is not None
    assert (found.describe(), found.is_whole) == ("30 of 33 layers of the model", False)
    assert engine_memory.read({"journal": r"never (\d+)/(\d+)"}, running) is None


@pytest.mark.usefixtures("driver")
def test_finds_who_of_a_service_has_a_gpu_open(tmp_path: Path) -> None:
    for pid, target in ((7, "/dev/nvidia0"), (8, "/dev/null"), (9, "/dev/nvidiactl")):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "fd/3").symlink_to(target)
        (tmp_path / str(pid) / "cgroup").write_text(f"0::{GROUP}\n")
        (tmp_path / str(pid) / "cmdline").write_bytes(b"engine\0")
    assert processes.nvidia_users(GROUP) == [7]
    assert processes.nvidia_users("/system.slice/other.service") == []
