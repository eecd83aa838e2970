# SPDX-License-Identifier: Apache-2.0
"""Tell whether a model that belongs on the GPU is there, and if not, the likely reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils import engine_unit
from ansible.module_utils.engine_causes import shortened
from ansible.module_utils.engine_settings import Running
from ansible.module_utils.engine_unit import UnitError

DEVICES = Path("/dev")
NVIDIA_SMI_SECONDS = 60
GIBIBYTE = 1024**3
MEBIBYTE = 1024**2
_MISMATCH = re.compile(r"driver/library version mismatch", re.IGNORECASE)
_READABLE = 0o006


@dataclass(frozen=True)
class Memory:
    """Say how much of a model is in the memory of GPUs; `unit` is bytes or what the engine counts in."""

    on_gpu: int
    total: int
    unit: str = "bytes"

    @property
    def is_whole(self) -> bool:
        """Tell whether nothing of the model is left to the CPU."""
        return self.on_gpu >= self.total

    def describe(self) -> str:
        """Return the shares in words."""
        if self.unit != "bytes":
            return f"{self.on_gpu} of {self.total} {self.unit} of the model"
        return f"{self.on_gpu / GIBIBYTE:.1f} of {self.total / GIBIBYTE:.1f} GiB of the model"


@dataclass(frozen=True)
class Reason:
    """Pair why a GPU is not used with what helps."""

    meaning: str
    next_step: str


def look(asked: dict[str, Any], running: Running) -> Memory | None:
    """Return where the model is as the engine itself says, None when it does not say."""
    if "journal" in asked:
        found = [match for match in (re.search(asked["journal"], line) for line in running.journal) if match]
        if not found:
            return None
        return Memory(int(found[-1].group(1)), int(found[-1].group(2)), asked.get("unit", "layers"))
    total = running.field(asked["get"], asked["total"])
    on_gpu = running.field(asked["get"], asked["on_gpu"])
    return Memory(int(on_gpu or 0), int(total)) if total else None


def reason(memory: Memory | None) -> Reason | None:
    """Return the likely reason why a model is not on the GPU, found on the host."""
    said, answers = _nvidia_smi("--query-gpu=index,memory.free,memory.total", "--format=csv,noheader,nounits")
    if _MISMATCH.search(said):
        return Reason(
            f"the loaded NVIDIA driver and its libraries have different versions ({shortened(said)})",
            "reboot the host, which loads the driver that is installed",
        )
    if not (DEVICES / "nvidia-uvm").exists():
        return Reason(
            "/dev/nvidia-uvm is missing, without which CUDA finds no GPU",
            "run `modprobe nvidia_uvm` and `nvidia-modprobe -u -c=0` on the host, then restart the unit",
        )
    if not answers:
        return Reason(
            f"nvidia-smi does not answer ({shortened(said) or 'it prints nothing'})",
            "install or repair the NVIDIA driver until `nvidia-smi` answers",
        )
    return _closed_device() or _too_little(memory, said)


def _closed_device() -> Reason | None:
    for device in sorted(DEVICES.glob("nvidia[0-9]*")):
        status = device.stat()
        if status.st_mode & _READABLE != _READABLE:
            mode = f"{status.st_mode & 0o777:o}"
            return Reason(
                f"{device} may be opened by its owner and group alone (mode {mode})",
                f"add the engine's user to the group of {device}, "
                "or load the driver with NVreg_DeviceFileMode=0666",
            )
    return None


def _too_little(memory: Memory | None, table: str) -> Reason | None:
    """Return the reason that the cards have too little room; what is there in part did not fit."""
    cards = [list(map(int, found)) for found in re.findall(r"^(\d+), (\d+), (\d+)$", table, re.MULTILINE)]
    if memory is None or not cards:
        return None
    missing = (memory.total - memory.on_gpu) / MEBIBYTE if memory.unit == "bytes" else 0
    if not memory.on_gpu and sum(free for _, free, _ in cards) >= missing:
        return None
    room = ", ".join(
        f"GPU {index} has {free / 1024:.1f} of {total / 1024:.1f} GiB free" for index, free, total in cards
    )
    return Reason(
        f"there was not enough free GPU memory: {room}{_holders()}",
        "serve a smaller model, context or number of slots, stop what else is on the GPU, "
        "or give the service more GPUs",
    )


def _holders() -> str:
    """Return the programs that hold most of the cards' memory."""
    table, _ = _nvidia_smi(
        "--query-compute-apps=used_memory,process_name,pid", "--format=csv,noheader,nounits"
    )
    rows = re.findall(r"^(\d+), (.+), (\d+)$", table, re.MULTILINE)
    most = sorted(rows, key=lambda row: -int(row[0]))[:3]
    held = [f"{Path(name).name} (pid {pid}) {int(used) / 1024:.1f} GiB" for used, name, pid in most]
    return f"; held by {', '.join(held)}" if held else ""


def _nvidia_smi(*words: str) -> tuple[str, bool]:
    """Return what the driver's tool prints, errors included, and whether it could answer."""
    try:
        done = engine_unit.call("nvidia-smi", *words, seconds=NVIDIA_SMI_SECONDS)
    except UnitError as error:
        return str(error), False
    return (done.stdout + done.stderr).strip(), done.returncode == 0
