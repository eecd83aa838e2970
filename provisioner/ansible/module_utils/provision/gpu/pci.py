# SPDX-License-Identifier: Apache-2.0
"""List NVIDIA's GPUs and NVSwitches on the PCI bus, which needs no driver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..host.paths import text_of
from .architecture import architecture

DEVICES = Path("/sys/bus/pci/devices")
NVIDIA = "0x10de"
GPU, NVSWITCH = "gpu", "nvswitch"
# Class and subclass of what counts; a GPU brings sound, USB and bridges of its own.
KINDS = {"0x0300": GPU, "0x0302": GPU, "0x0380": GPU, "0x0680": NVSWITCH}


def devices(folder: Path = DEVICES) -> list[dict[str, Any]]:
    """Return slot, id, class, kind, architecture and bound driver of each device, by slot."""
    found = []
    for device in sorted(folder.glob("*")):
        kind = KINDS.get(_text(device / "class")[:6])
        if kind and _text(device / "vendor") == NVIDIA:
            number, driver = _text(device / "device"), device / "driver"
            found.append(
                {
                    "slot": device.name,
                    "device_id": number,
                    "class": _text(device / "class"),
                    "kind": kind,
                    "architecture": architecture(int(number, 16)) if kind == GPU else None,
                    # Where a driver has taken the device, this is a link to it.
                    "driver": driver.resolve().name if driver.is_symlink() else None,
                }
            )
    return found


def own_gpus(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the GPUs that this host's own driver is to offer: not those that are kept for its guests."""
    return [one for one in found if one["kind"] == GPU and not (one["driver"] or "").startswith("vfio")]


def _text(path: Path) -> str:
    # Devices can be taken off the bus while it is read.
    return str(text_of(path)).strip().lower()
