# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.provision.gpu import architecture as nvidia_architecture
from ansible.module_utils.provision.gpu import pci


def device(bus: Path, slot: str, kind: str, number: str, driver: str = "", *, vendor: str = "0x10de") -> None:
    folder = bus / slot
    folder.mkdir(parents=True)
    for name, text in (("vendor", vendor), ("class", kind), ("device", number)):
        (folder / name).write_text(text + "\n")
    if driver:
        (folder / "driver").symlink_to(f"../../../bus/pci/drivers/{driver}")


def test_lists_gpus_and_switches_and_not_their_sound_or_others_cards(tmp_path: Path) -> None:
    device(tmp_path, "0000:1b:00.0", "0x030200", "0x2335", "nvidia")
    device(tmp_path, "0000:1c:00.0", "0x030000", "0x1DB6", "nouveau")
    device(tmp_path, "0000:1c:00.1", "0x040300", "0x228b", "snd_hda_intel")
    device(tmp_path, "0000:1d:00.0", "0x030200", "0x2901", "vfio-pci")
    device(tmp_path, "0000:1e:00.0", "0x030200", "0x2342")
    device(tmp_path, "0000:81:00.0", "0x068000", "0x22a3", "nvidia-nvswitch")
    device(tmp_path, "0000:00:02.0", "0x030000", "0x2901", vendor="0x8086")
    found = pci.devices(tmp_path)
    assert [(one["slot"], one["kind"], one["architecture"], one["driver"]) for one in found] == [
        ("0000:1b:00.0", "gpu", "Hopper", "nvidia"),
        ("0000:1c:00.0", "gpu", "Volta", "nouveau"),
        ("0000:1d:00.0", "gpu", "Blackwell", "vfio-pci"),
        ("0000:1e:00.0", "gpu", "Grace Hopper", None),
        ("0000:81:00.0", "nvswitch", None, "nvidia-nvswitch"),
    ]
    assert (found[0]["device_id"], found[0]["class"]) == ("0x2335", "0x030200")
    assert [one["slot"] for one in pci.own_gpus(found)] == [
        "0000:1b:00.0",
        "0000:1c:00.0",
        "0000:1e:00.0",
    ]


def test_a_device_that_goes_away_while_it_is_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "0000:1b:00.0").mkdir()
    assert pci.devices(tmp_path) == []
    assert pci.devices(tmp_path / "no bus") == []


@pytest.mark.parametrize(
    ("product", "number", "architecture"),
    [
        ("Tesla C2050", 0x06D1, "Fermi or older"),
        ("K80", 0x102D, "Kepler"),
        ("GeForce GTX 580", 0x1080, "Fermi or older"),
        ("M10", 0x13BD, "Maxwell"),
        ("M60", 0x13F2, "Maxwell"),
        ("M40", 0x17FD, "Maxwell"),
        ("P100", 0x15F8, "Pascal"),
        ("P40", 0x1B38, "Pascal"),
        ("V100 SXM2 32 GB", 0x1DB5, "Volta"),
        ("RTX 2080 Ti", 0x1E07, "Turing"),
        ("T4", 0x1EB8, "Turing"),
        ("GTX 1660", 0x2184, "Turing"),
        ("A100 SXM4 80 GB", 0x20B2, "Ampere"),
        ("A10", 0x2236, "Ampere"),
        ("A2", 0x25B6, "Ampere"),
        ("L40S", 0x26B9, "Ada"),
        ("L4", 0x27B8, "Ada"),
        ("H100 SXM5", 0x2330, "Hopper"),
        ("H200 SXM", 0x2335, "Hopper"),
        ("GH200 480 GB", 0x2342, "Grace Hopper"),
        ("GH200 144G", 0x2348, "Grace Hopper"),
        ("B200", 0x2901, "Blackwell"),
        ("GB200", 0x2941, "Blackwell"),
        ("RTX PRO 6000", 0x2BB5, "Blackwell"),
        ("GB10", 0x2E12, "Blackwell"),
        ("B300", 0x3182, "Blackwell"),
        ("between the rows", 0x1A00, "unknown"),
        ("not on sale yet", 0x4000, "newer than Blackwell"),
    ],
)
def test_a_device_id_tells_the_architecture(product: str, number: int, architecture: str) -> None:
    assert nvidia_architecture.architecture(number) == architecture, product


def test_the_rows_are_in_order_and_do_not_overlap() -> None:
    ends = [end for first, last, _ in nvidia_architecture.TABLE for end in (first, last)]
    assert ends == sorted(ends)
    assert len(set(ends)) == len(ends)
