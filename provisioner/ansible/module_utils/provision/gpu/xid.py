# SPDX-License-Identifier: Apache-2.0
"""Find the errors that the NVIDIA driver has written into the kernel's log, and say what each one means.

Sources: [catalog] "Analyzing Xid Errors with the Xid Catalog", docs.nvidia.com/deploy/xid-errors, whose
immediate actions decide what is a note here: what is answered by restarting the application, or not at all.
[older] the list of the same pages for Volta and older GPUs. [memory] NVIDIA's "GPU Memory Error Management",
docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt. [plugin] internal/rm/health.go of
github.com/NVIDIA/k8s-device-plugin, which takes 13, 31, 43, 45 and 68 for faults of applications.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..host.commands import CommandFault, call

DMESG_SECONDS = 10
TEXT_LIMIT = 200
# Every line of the log may be about another fault of the same kind, so each kind is kept once per GPU.
LINE = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9A-Fa-f]+:[0-9A-Fa-f]+:[0-9A-Fa-f]+)[^)]*\): ([0-9]+)[, ]*(.*)")
STAMP = re.compile(r"^\[ *([0-9]+\.[0-9]+)\]")
LOADING = "NVRM: loading NVIDIA UNIX"
# A log that still holds the boot begins in its first seconds.
FIRST_SECONDS = 10.0

RESTART = "restart the service that it refers to; if it recurs, look for the fault in the engine or the model"
RESET = "stop what uses the GPU, run `nvidia-smi --gpu-reset -i {slot}`, and boot the host when that fails"
BOOT = "boot the host, or cut its power; when it comes again, check seat, power and cooling of the GPU"
REPORT = "run NVIDIA's field diagnostics or ask the vendor about the GPU"
RESET_AND_REPORT = f"{RESET}; then {REPORT}"
LINKS = "restart nvidia-fabricmanager where there is one, then boot the host; check the links and their seat"


@dataclass(frozen=True)
class Meaning:
    """What an Xid means and what to do; `harmful` if the GPU itself can no longer be trusted."""

    text: str
    next_step: str
    harmful: bool = True


def _note(text: str, step: str = RESTART) -> Meaning:
    return Meaning(text, step, harmful=False)


TABLE = {
    8: _note("the GPU stopped processing for one program"),  # [catalog]
    11: _note("a program sent the GPU commands that it does not know"),  # [catalog]
    13: _note("a program's kernel failed, as a rule by an index out of bounds"),  # [catalog, plugin]
    25: _note("a program asked the GPU for something illegal"),  # [catalog]
    31: _note("a program used memory of the GPU that is not its own"),  # [catalog, plugin]
    32: _note("a program's commands arrived damaged"),  # [catalog]
    38: _note("the firmware of the GPU reported an error"),  # [catalog]
    43: _note("a program's own fault ended its work, and the GPU is well"),  # [catalog, plugin]
    44: _note("the graphics engine failed while it changed programs"),  # [catalog]
    45: _note("the work of a program that ended or was killed was cleared away"),  # [catalog, plugin]
    46: Meaning("the GPU no longer answers in time", RESET),  # [catalog]
    48: Meaning("two bits of the GPU's memory were wrong at once", RESET),  # [catalog, memory]
    54: Meaning("the GPU gets too little power", "connect all of its power cables"),  # [catalog]
    61: Meaning("the GPU's internal controller met a breakpoint", RESET),  # [older]
    62: Meaning("the GPU's internal controller halted", RESET),  # [catalog]
    63: _note(  # [catalog, memory]
        "failing memory will be replaced by spare rows",
        "reset the GPU or boot the host when it is convenient, which puts the spare rows to use",
    ),
    64: Meaning("no spare rows could replace memory that fails", RESET_AND_REPORT),  # [catalog]
    68: _note("the video decoder failed for one program"),  # [catalog, plugin]
    69: _note("a program asked the graphics engine for a class that it lacks"),  # [catalog]
    74: Meaning("a link between GPUs (NVLink) fails", LINKS),  # [catalog]
    79: Meaning("the GPU has fallen off the bus", BOOT),  # [catalog]
    92: _note("many single bits of the GPU's memory had to be corrected", REPORT),  # [catalog]
    93: _note("the GPU's own record has been written too often", REPORT),  # [catalog]
    94: _note("an error in the GPU's memory ended one program alone"),  # [catalog, memory]
    95: Meaning("an error in the GPU's memory may have touched every program", RESET),  # [catalog, memory]
    109: Meaning("the GPU could not change programs in time", RESET),  # [catalog]
    110: Meaning("the GPU's security engine failed", RESET),  # [catalog]
    119: Meaning("the firmware that runs the GPU (GSP) does not answer", RESET),  # [catalog]
    120: Meaning("the firmware that runs the GPU (GSP) failed", RESET),  # [catalog]
    121: _note("a link between processor and GPU (C2C) had an error", REPORT),  # [catalog]
    136: Meaning("a link between GPUs (NVLink) could not be brought up", LINKS),  # [catalog]
    137: _note("a program used memory of another GPU that is not its own"),  # [catalog]
    140: Meaning("errors in the GPU's memory could not be kept apart", RESET_AND_REPORT),  # [catalog]
    143: Meaning("the GPU could not be initialised", BOOT),  # [catalog]
    # It only says which repair another Xid beside it needs.
    154: _note("the driver names the repair that the GPU needs", "do what it asks for"),  # [catalog]
    156: Meaning("a failing part of the GPU will be replaced by a spare one", RESET),  # [catalog]
    158: Meaning("the GPU no longer answers in time", RESET),  # [catalog]
}
CATALOG = "https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html"
UNKNOWN = Meaning("no Xid that is known here", f"look it up at {CATALOG}")


def meaning(xid: int) -> Meaning:
    """Return what an Xid means; one that is not in the table counts as harmful."""
    return TABLE.get(xid, UNKNOWN)


def since_boot(slots: list[str] | None = None) -> dict[str, Any]:
    """Return the Xids in the kernel's log of all GPUs or some, if it is whole, and why it cannot be read."""
    try:
        done = call("dmesg", seconds=DMESG_SECONDS)
    except CommandFault as fault:
        return {"errors": [], "whole": False, "problem": str(fault)}
    if done.returncode:
        said = (done.stderr.strip() or f"it ended with {done.returncode}").partition("\n")[0]
        return {"errors": [], "whole": False, "problem": f"dmesg shows nothing: {said}"}
    errors = [one for one in parse(done.stdout) if slots is None or one["slot"] in slots]
    return {"errors": errors, "whole": _is_whole(done.stdout), "problem": None}


def parse(log: str) -> list[dict[str, Any]]:
    """Return time, slot, number, text and count of each Xid; `past` is one that an older load has seen."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for line in log.splitlines():
        if LOADING in line:
            found = {key: dict(one, past=True) for key, one in found.items()}
            continue
        if seen := LINE.search(line):
            # The log leaves the function out, which is always the first.
            slot, xid = f"{seen.group(1).lower()}.0", int(seen.group(2))
            count = found.get((slot, xid), {"count": 0})["count"] + 1
            text = " ".join(seen.group(3).split())[:TEXT_LIMIT]
            found[slot, xid] = {
                "time": _seconds(line),
                "slot": slot,
                "xid": xid,
                "text": text,
                "count": count,
                "past": False,
            }
    return list(found.values())


def _seconds(line: str) -> float | None:
    stamp = STAMP.match(line)
    return float(stamp.group(1)) if stamp else None


def _is_whole(log: str) -> bool:
    first = next((seconds for seconds in map(_seconds, log.splitlines()) if seconds is not None), None)
    return first is not None and first < FIRST_SECONDS
