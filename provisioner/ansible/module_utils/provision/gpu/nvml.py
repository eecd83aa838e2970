# SPDX-License-Identifier: Apache-2.0
"""Query NVIDIA's management library (NVML) in a separate process, which may hang for ever.

The bindings are NVIDIA's pynvml. They come with the controller's installation and are carried along, by
Ansible as by the programs that are sent over SSH.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any, Callable

from ..host.paths import text_of
from .cards import cards, cuda_version

LIBRARY = "libnvidia-ml.so.1"
MAPS = Path("/proc/self/maps")
OK, HUNG, MISMATCH, NOT_LOADED = "ok", "hung", "mismatch", "not loaded"
NO_LIBRARY, FAILED = "no library", "failed"
DRIVER_NOT_LOADED, NO_SUCH_LIBRARY, VERSIONS_DIFFER = 9, 12, 18
STATES = {DRIVER_NOT_LOADED: NOT_LOADED, NO_SUCH_LIBRARY: NO_LIBRARY, VERSIONS_DIFFER: MISMATCH}
# What a process that has answered gets for ending; closing its devices can hang as well.
END_SECONDS = 5
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
    status = None if text is None else _end(child, time.monotonic() + END_SECONDS)
    if status is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        # A process that hangs in the driver does not even end when it is killed, so nothing waits for it.
        os.waitpid(child, os.WNOHANG)
    if text is None:
        return _nothing(HUNG, f"NVML did not answer within {seconds:g} s")
    try:
        answer: dict[str, Any] = json.loads(text)
    except ValueError:
        how = f" with signal {os.WTERMSIG(status)}" if status and os.WIFSIGNALED(status) else ""
        return _nothing(FAILED, f"NVML broke off{how}")
    return answer


def look(*, with_programs: bool = False) -> dict[str, Any]:
    """Return what NVML reports, with the programs on the GPUs if requested; this runs in the child."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError as error:
        return _nothing(NO_LIBRARY, str(error))
    version = _library_version()
    try:
        # Only here, since it is large and most hosts of a mixed fleet have no such library.
        from ansible.module_utils.pynvml import NVMLError  # noqa: PLC0415 - see above
    except ImportError:
        return _nothing(FAILED, NO_BINDINGS, version)
    # Not by its package, which a program that is sent over SSH does not have.
    nvml = sys.modules[NVMLError.__module__]
    try:
        nvml.nvmlInit()
        gpus, lost = cards(nvml, with_programs=with_programs)
        return {
            "state": OK,
            "error": None,
            "version": str(nvml.nvmlSystemGetDriverVersion()),
            "library": version,
            "cuda": cuda_version(nvml),
            "gpus": gpus,
            "lost": lost,
        }
    except NVMLError as error:
        return _nothing(STATES.get(error.value, FAILED), str(error), version)


def _library_version() -> str | None:
    """Return the version in the name of the file that was loaded; NVML's own answer lacks the last part."""
    found = re.search(r"(?m)libnvidia-ml\.so\.([0-9]+\.[0-9.]*[0-9])$", text_of(MAPS))
    return found.group(1) if found else None


def _nothing(state: str, error: str, library: str | None = None) -> dict[str, Any]:
    unknown: dict[str, Any] = {"version": None, "library": library, "cuda": None, "gpus": [], "lost": []}
    return {"state": state, "error": error, **unknown}


def _answer(sender: int, read: Callable[[], dict[str, Any]]) -> None:
    """Write the answer and end; readers of the parent's output must not wait for this process."""
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


def _end(child: int, deadline: float) -> int | None:
    """Return how a process ended, None when it does not in time."""
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.01)


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
