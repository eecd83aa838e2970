# SPDX-License-Identifier: Apache-2.0
"""Ask NVIDIA's management library (NVML) what it knows, in a process of its own that may hang for ever.

The bindings are NVIDIA's pynvml. They come with the controller's installation and are carried along by
Ansible.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import select
import signal
import time
from pathlib import Path
from typing import Any, Callable

LIBRARY = "libnvidia-ml.so.1"
MAPS = Path("/proc/self/maps")
OK, HUNG, MISMATCH, NOT_LOADED = "ok", "hung", "mismatch", "not loaded"
NO_LIBRARY, FAILED = "no library", "failed"
DRIVER_NOT_LOADED, NO_SUCH_LIBRARY, VERSIONS_DIFFER = 9, 12, 18
STATES = {DRIVER_NOT_LOADED: NOT_LOADED, NO_SUCH_LIBRARY: NO_LIBRARY, VERSIONS_DIFFER: MISMATCH}
NO_BINDINGS = "the Python package nvidia-ml-py is not installed beside Ansible on the controller"


def ask(seconds: float, read: Callable[[], dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return the state, the library's version and the GPUs; a library that hangs is left behind."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(sender, read or look)
    os.close(sender)
    try:
        text = _receive(receiver, time.monotonic() + seconds)
    finally:
        os.close(receiver)
    if text is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        # A process that hangs in the driver does not even end when it is killed, so nothing waits for it.
        os.waitpid(child, os.WNOHANG)
        return _nothing(HUNG, f"NVML did not answer within {seconds:g} s")
    _, status = os.waitpid(child, 0)
    try:
        answer: dict[str, Any] = json.loads(text)
    except ValueError:
        return _nothing(FAILED, f"NVML broke off{_how(status)}")
    return answer


def look() -> dict[str, Any]:
    """Return what NVML says; this runs in the child."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError as error:
        return _nothing(NO_LIBRARY, str(error))
    version = _library_version()
    try:
        # Only here, since it is large and most hosts of a mixed fleet have no such library.
        from ansible.module_utils import pynvml as nvml  # noqa: PLC0415 - see above
    except ImportError:
        return dict(_nothing(FAILED, NO_BINDINGS), library=version)
    try:
        nvml.nvmlInit()
        gpus, lost = _cards(nvml)
        return {
            "state": OK,
            "error": None,
            "version": str(nvml.nvmlSystemGetDriverVersion()),
            "library": version,
            "gpus": gpus,
            "lost": lost,
        }
    except nvml.NVMLError as error:
        return dict(_nothing(STATES.get(error.value, FAILED), str(error)), library=version)


def _cards(nvml: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the GPUs, and what NVML says of those that it cannot reach."""
    gpus, lost = [], []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            gpus.append(_card(nvml, index))
        except nvml.NVMLError as error:  # noqa: PERF203 - one lost GPU must not hide the others
            lost.append(f"GPU {index}: {error}")
    return gpus, lost


def _card(nvml: Any, index: int) -> dict[str, Any]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def optional(call: Callable[[Any], Any]) -> Any:
        try:
            return call(handle)
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):  # older GPU, older library
            return None

    memory = optional(nvml.nvmlDeviceGetMemoryInfo)
    mig = optional(nvml.nvmlDeviceGetMigMode)
    return {
        "index": index,
        "uuid": str(nvml.nvmlDeviceGetUUID(handle)),
        "name": str(nvml.nvmlDeviceGetName(handle)),
        "memory_bytes": int(memory.total) if memory else 0,
        "free_bytes": int(memory.free) if memory else 0,
        "compute_capability": ".".join(map(str, nvml.nvmlDeviceGetCudaComputeCapability(handle))),
        "pci": slot(str(nvml.nvmlDeviceGetPciInfo(handle).busId)),
        "mig": None if mig is None else bool(mig[0]),
    }


def slot(bus_id: str) -> str:
    """Return a PCI address as the kernel writes it: NVML's domain has eight digits, in capitals."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"


def _library_version() -> str | None:
    """Return the version in the name of the file that was loaded; NVML's own answer lacks the last part."""
    with contextlib.suppress(OSError):
        for line in MAPS.read_text(encoding="utf-8", errors="replace").splitlines():
            found = re.search(r"libnvidia-ml\.so\.([0-9]+\.[0-9.]*[0-9])$", line)
            if found:
                return found.group(1)
    return None


def _nothing(state: str, error: str) -> dict[str, Any]:
    return {"state": state, "error": error, "version": None, "library": None, "gpus": [], "lost": []}


def _answer(sender: int, read: Callable[[], dict[str, Any]]) -> None:
    """Write the answer and end; whoever waits for the parent's output must not wait for this process."""
    try:
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(quiet, stream)
        os.setsid()
        _close_all_but(sender)
        os.write(sender, json.dumps(read()).encode())
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent says it
        os.write(sender, json.dumps(_nothing(FAILED, repr(error))).encode())
    finally:
        os._exit(0)


def _how(status: int) -> str:
    return f" with signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else ""


def _close_all_but(kept: int) -> None:
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if number > 2 and number != kept:
            with contextlib.suppress(OSError):
                os.close(number)


def _receive(receiver: int, deadline: float) -> str | None:
    """Return all that the child writes, None when it does not end in time."""
    parts: list[bytes] = []
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([receiver], [], [], left)[0]:
            return None
        part = os.read(receiver, 65536)
        if not part:
            return b"".join(parts).decode()
        parts.append(part)
