# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.gpu import kernel
from ansible.module_utils.provision.gpu import state as nvidia_driver

OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (builder)\n"
PROPRIETARY = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.163.01  Fri May 31 09:35:42 UTC 2024\n"
GPU = {"index": 0, "name": "NVIDIA H200"}
HOPPER = {"slot": "0000:1b:00.0", "kind": "gpu", "architecture": "Hopper", "driver": None}
ANSWER: dict[str, Any] = {
    "state": "ok",
    "error": None,
    "version": "580.95.05",
    "library": "580.95.05",
    "gpus": [GPU],
    "lost": [],
}


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "version"
    monkeypatch.setattr(kernel, "LOADED_DRIVER", path)
    return path


def examine(
    devices: list[dict[str, Any]] | None = None, *, container: bool = False, **answer: Any
) -> dict[str, Any]:
    devices = [HOPPER] if devices is None else devices
    found: tuple[dict[str, Any], list[dict[str, Any]]] = nvidia_driver.examine(
        devices, container=container, read=lambda: {**ANSWER, **answer}
    )
    return found[0]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (OPEN, ("580.95.05", "open")),
        (PROPRIETARY, ("550.163.01", "proprietary")),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  TempVersion  Release\n", (None, "open")),
        (None, (None, None)),
    ],
)
def test_reads_the_module_that_is_loaded(
    loaded: Path, text: str | None, found: tuple[str | None, str | None]
) -> None:
    if text:
        loaded.write_text(text)
    assert kernel.loaded_driver() == found


def test_a_driver_that_answers_has_no_problem(loaded: Path) -> None:
    loaded.write_text(OPEN)
    driver = examine()
    assert (driver["state"], driver["problem"], driver["module"], driver["flavour"]) == (
        "ok",
        None,
        "580.95.05",
        "open",
    )


BARE: dict[str, Any] = {"version": None, "library": None, "gpus": []}


@pytest.mark.parametrize(
    ("module", "answer", "state", "says"),
    [
        (
            *(None, {"state": "no library", "error": "not found"}, "no driver"),
            (
                "1 NVIDIA GPU on the PCI bus, but no NVIDIA driver is installed",
                "install one: Hopper takes a driver with the open kernel modules",
            ),
        ),
        (
            *(None, {"state": "not loaded", "error": "", "library": "580.95.05"}, "not loaded"),
            ("the NVIDIA driver that is installed is not loaded", "modprobe nvidia"),
        ),
        (
            *(OPEN, {"state": "no library", "error": "not found"}, "no library"),
            ("without its libraries", "580.95.05"),
        ),
        (OPEN, {"state": "hung", "error": "no answer"}, "hung", ("hangs: no answer", "reboot")),
        (
            *(PROPRIETARY, {"state": "mismatch", "error": "RM has", "library": "580.95.05"}, "mismatch"),
            ("kernel module is 550.163.01 and its library 580.95.05: RM has", "reboot the host"),
        ),
        (PROPRIETARY, {"library": "580.95.05"}, "mismatch", ("they must be the same", "reboot the host")),
        (OPEN, {"state": "failed", "error": "Unknown Error"}, "failed", ("work: Unknown", "reinstall")),
        (
            *(PROPRIETARY, {"library": "550.163.01"}, "ok"),
            (
                "the proprietary kernel modules 550.163.01 offer none of them",
                "Hopper takes a driver with the open kernel modules",
            ),
        ),
    ],
)
def test_each_trouble_is_named_with_what_helps(
    loaded: Path, module: str | None, answer: dict[str, Any], state: str, says: tuple[str, str]
) -> None:
    if module:
        loaded.write_text(module)
    driver = examine(**{**BARE, **answer})
    assert driver["state"] == state
    assert says[0] in driver["problem"]
    assert says[1] in driver["next"]


@pytest.mark.usefixtures("loaded")
def test_nouveau_is_named_where_it_holds_the_hardware() -> None:
    driver = examine([{**HOPPER, "driver": "nouveau"}], **{**BARE, "state": "no library", "error": ""})
    assert "nouveau holds the hardware" in driver["problem"]


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize(
    ("devices", "container"), [([], False), ([HOPPER], True), ([{**HOPPER, "driver": "vfio-pci"}], False)]
)
def test_gpus_that_are_not_for_this_host_are_not_missed(
    devices: list[dict[str, Any]], container: bool
) -> None:
    driver = examine(devices, container=container, **{**BARE, "state": "no library", "error": ""})
    assert (driver["expected"], driver["problem"]) == (0, None)


@pytest.mark.usefixtures("loaded")
def test_a_broken_driver_is_missed_in_a_container_as_well() -> None:
    driver = examine([], container=True, **{**BARE, "state": "hung", "error": "no answer"})
    assert driver["problem"] == "the NVIDIA driver hangs: no answer"


@pytest.mark.usefixtures("loaded")
def test_gpus_that_are_all_lost_are_the_next_rungs_finding() -> None:
    driver = examine(gpus=[], lost=["GPU 0: GPU is lost"])
    assert (driver["problem"], driver["lost"]) == (None, ["GPU 0: GPU is lost"])
