# SPDX-License-Identifier: Apache-2.0
"""Find out whether a model that belongs on the GPU is there, and if not, the likely reason."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..gpu import nvml
from .causes import shortened
from .processes import process
from .settings import Running

DEVICES = Path("/dev")
NVML_SECONDS = 60
GIBIBYTE = 1024**3
_READABLE = 0o006


@dataclass(frozen=True)
class Memory:
    """Hold how much of a model is in the memory of GPUs; `unit` is bytes or what the engine counts in."""

    on_gpu: int
    total: int
    unit: str = "bytes"

    @property
    def is_whole(self) -> bool:
        """Return whether the whole model is on GPUs."""
        return self.on_gpu >= self.total

    def describe(self) -> str:
        """Return the shares as a message shows them."""
        if self.unit != "bytes":
            return f"{self.on_gpu} of {self.total} {self.unit} of the model"
        return f"{self.on_gpu / GIBIBYTE:.1f} of {self.total / GIBIBYTE:.1f} GiB of the model"


def read(known: dict[str, Any], running: Running) -> Memory | None:
    """Return where the model is as the engine itself reports, None if it does not."""
    if "journal" in known:
        found = running.logged(known["journal"])
        return Memory(int(found[1]), int(found[2]), known.get("unit", "layers")) if found else None
    total, on_gpu = (running.field(known["get"], known[name]) for name in ("total", "on_gpu"))
    return Memory(int(on_gpu or 0), int(total)) if total else None


def held(pids: list[int]) -> str:
    """Return how much of each GPU's memory processes hold, empty if the driver does not report it."""
    taken = {
        gpu["index"]: sum(one["bytes"] or 0 for one in gpu["programs"] if one["pid"] in pids)
        for gpu in _query()["gpus"]
    }
    return " and ".join(f"{size / GIBIBYTE:.1f} GiB of GPU {index}" for index, size in taken.items() if size)


def reason(memory: Memory | None) -> tuple[str, str] | None:
    """Return the likely reason why a model is not on the GPU, found on the host, and what helps."""
    answer = _query()
    if answer["state"] == nvml.MISMATCH:
        said = shortened(answer["error"])
        meaning = f"the loaded NVIDIA driver and its libraries have different versions ({said})"
        return meaning, "reboot the host to load the installed driver"
    if not (DEVICES / "nvidia-uvm").exists():
        step = "run `modprobe nvidia_uvm` and `nvidia-modprobe -u -c=0` on the host, then restart the unit"
        return "/dev/nvidia-uvm is missing, so CUDA does not find any GPU", step
    if not answer["gpus"]:
        said = shortened(answer["error"] or "; ".join(answer["lost"]) or "it lists none")
        step = "install or repair the NVIDIA driver until `nvidia-smi` answers"
        return f"the NVIDIA driver offers no GPU ({said})", step
    for device in sorted(DEVICES.glob("nvidia[0-9]*")):
        mode = device.stat().st_mode & 0o777
        if mode & _READABLE != _READABLE:
            either = f"add the engine's user to the group of {device}"
            step = f"{either}, or load the driver with NVreg_DeviceFileMode=0666"
            return f"only the owner and the group of {device} can open it (mode {mode:o})", step
    return _too_little(memory, answer["gpus"])


def _query() -> dict[str, Any]:
    """Return what the driver reports about the GPUs and the programs on them."""
    return nvml.ask(NVML_SECONDS, functools.partial(nvml.look, with_programs=True))


def _too_little(memory: Memory | None, gpus: list[dict[str, Any]]) -> tuple[str, str] | None:
    """Return that the cards have too little free memory; a model that is there only in part did not fit."""
    cards = [gpu for gpu in gpus if gpu["memory_bytes"]]
    if memory is None or not cards:
        return None
    missing = memory.total - memory.on_gpu if memory.unit == "bytes" else 0
    if not memory.on_gpu and sum(gpu["free_bytes"] for gpu in cards) >= missing:
        return None
    rooms = [(gpu["index"], gpu["free_bytes"] / GIBIBYTE, gpu["memory_bytes"] / GIBIBYTE) for gpu in cards]
    room = ", ".join(f"GPU {index} has {free:.1f} of {total:.1f} GiB free" for index, free, total in rooms)
    less = "use a smaller model, a shorter context or fewer slots"
    step = f"{less}, stop other processes on the GPU, or give the service more GPUs"
    return f"there was not enough free GPU memory: {room}{_holders(cards)}", step


def _holders(gpus: list[dict[str, Any]]) -> str:
    """Return the programs that hold most of the cards' memory."""
    programs = [one for gpu in gpus for one in gpu["programs"] if one["bytes"]]
    most = sorted(programs, key=lambda one: -int(one["bytes"]))[:3]
    # A process of another container has no name here.
    named = [(process(one["pid"]).name or "a program", one["pid"], one["bytes"] / GIBIBYTE) for one in most]
    shown = ", ".join(f"{name} (pid {pid}) {size:.1f} GiB" for name, pid, size in named)
    return f"; held by {shown}" if shown else ""
