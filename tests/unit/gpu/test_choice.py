# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.provision.gpu import choice as nvidia_choice
from ansible.module_utils.provision.host.fault import Fault


def box(*architectures: str, driver: str | None = None) -> list[dict[str, Any]]:
    return [
        {
            "slot": f"0000:{number:02x}:00.0",
            "device_id": "0x1a00",
            "kind": "gpu",
            "architecture": architecture,
            "driver": driver,
        }
        for number, architecture in enumerate(architectures, start=1)
    ]


@pytest.mark.parametrize(
    ("gpus", "asked", "branch", "chosen"),
    [
        (["Maxwell"], "auto", None, ("proprietary", None, 580)),
        (["Pascal"], "auto", "580", ("proprietary", None, 580)),
        (["Volta"], "auto", "580.95.05", ("proprietary", None, 580)),
        (["Volta"], "proprietary", "470", ("proprietary", None, 580)),
        (["Volta", "Ampere"], "auto", None, ("proprietary", None, 580)),
        (["Turing"], "auto", None, ("open", None, None)),
        (["Turing"], "auto", "535", ("proprietary", None, None)),
        (["Ampere"], "auto", "560", ("open", None, None)),
        (["Ampere"], "proprietary", "610", ("proprietary", None, None)),
        (["Ada"], "open", "515", ("open", None, None)),
        (["Hopper"], "auto", "550", ("proprietary", None, None)),
        (["Hopper"], "open", "550", ("open", None, None)),
        (["Grace Hopper"], "auto", "550", ("open", 515, None)),
        (["Blackwell"], "auto", "580", ("open", 570, None)),
        (["Blackwell", "Hopper"], "auto", "610", ("open", 570, None)),
        (["newer than Blackwell"], "auto", None, ("open", 570, None)),
        (["unknown"], "proprietary", None, ("proprietary", None, None)),
        (["unknown", "Volta"], "auto", None, ("proprietary", None, 580)),
        ([], "auto", None, ("open", None, None)),
    ],
)
def test_chooses_what_suits_every_gpu(
    gpus: list[str], asked: str, branch: str | None, chosen: tuple[str, int | None, int | None]
) -> None:
    assert nvidia_choice.choose(box(*gpus), asked, branch) == nvidia_choice.Choice(*chosen)


MIXED = (
    "the Volta GPU in 0000:01:00.0 and 0000:03:00.0 needs the proprietary kernel modules of branch 580 at "
    "most and the Blackwell GPU in 0000:02:00.0 the open ones, and a host can load only one kind"
)
TWO_NEW = (
    "the Blackwell GPU in 0000:02:00.0, the Grace Hopper GPU in 0000:03:00.0 cannot use the proprietary "
    "kernel modules and needs the open ones"
)
UNKNOWN = "no GPU with the device id 0x1a00 in 0000:01:00.0 is known, so its kernel modules cannot be chosen"
VOLTA = "the Volta GPU in 0000:01:00.0 cannot use the open kernel modules and needs the proprietary ones"
PASCAL = "580 is the last driver branch for the Pascal GPU in 0000:01:00.0, but 610 is requested"
BLACKWELL = "the Blackwell GPU in 0000:01:00.0 needs driver branch 570 or newer, but 550 is requested"
KEPLER = "the Kepler GPU in 0000:01:00.0 is not supported by drivers newer than branch 470"
NO_OPEN = "branch 470 has no open kernel modules, which exist since 515"
TAKE_IT_OUT = "remove it from the host, or bind it to vfio-pci for a virtual machine"


@pytest.mark.parametrize(
    ("gpus", "asked", "branch", "refusal", "step"),
    [
        (["Volta"], "open", None, VOLTA, "request the proprietary ones, or auto"),
        (
            *(["Hopper", "Blackwell", "Grace Hopper"], "proprietary", None),
            *(TWO_NEW, "request the open ones, or auto"),
        ),
        (["Pascal", "Pascal"], "auto", "610.43.02", PASCAL, "request branch 580"),
        (["Blackwell"], "auto", "550", BLACKWELL, "request branch 570 or newer"),
        (["Ampere"], "open", "470", NO_OPEN, "request a newer branch, or the proprietary ones"),
        (
            *(["Volta", "Blackwell", "Volta"], "auto", None, MIXED),
            "remove one of the two kinds from the host, or bind it to vfio-pci for a virtual machine",
        ),
        (["Kepler", "Hopper"], "auto", None, KEPLER, TAKE_IT_OUT),
        (
            *(["unknown", "Hopper"], "auto", None, UNKNOWN),
            "request the open ones if it is Turing or newer, the proprietary ones otherwise",
        ),
    ],
)
def test_refuses_what_cannot_work_and_says_what_does(
    gpus: list[str], asked: str, branch: str | None, refusal: str, step: str
) -> None:
    with pytest.raises(Fault) as fault:
        nvidia_choice.choose(box(*gpus), asked, branch)
    assert (str(fault.value), fault.value.next_step) == (refusal, step)


def test_a_gpu_that_is_kept_for_guests_has_no_say() -> None:
    mixed = [*box("Volta", driver="vfio-pci"), *box("Blackwell")]
    assert nvidia_choice.choose(mixed).modules == "open"


@pytest.mark.parametrize(
    ("gpus", "says"),
    [
        ([], ""),
        (["Hopper"], "Hopper takes a driver with the open kernel modules"),
        (["Volta"], "Volta takes a driver of branch 580 at most with the proprietary kernel modules"),
        (
            ["Blackwell", "Hopper"],
            "Blackwell and Hopper take a driver of branch 570 or newer with the open kernel modules",
        ),
        (["Kepler"], f"{KEPLER}: {TAKE_IT_OUT}"),
    ],
)
def test_says_what_driver_a_host_needs(gpus: list[str], says: str) -> None:
    assert nvidia_choice.describe(box(*gpus)) == says
