# SPDX-License-Identifier: Apache-2.0
"""Say how a host and its services are, in one look; `provision status` sends this over SSH."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..engine.client import Engine, NoAnswerError
from ..engine.files import read_key
from ..gpu.health import gpu_faults
from ..gpu.pci import devices
from ..gpu.state import examine
from ..host.commands import unit_values
from ..host.facts import parse_meminfo, parse_os_release, run
from ..host.managed import unnamed

ANSWER_SECONDS = 5
# A card that fell off the bus can hold the driver for minutes, and healthy ones take their time to wake.
DRIVER_SECONDS = 20
UNIT_FIELDS = "LoadState,ActiveState,SubState,Result,NRestarts,MainPID,ActiveEnterTimestampMonotonic"


def read(path: str) -> str:
    """Return a small file's text, or nothing when it is not there."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def gpus() -> dict[str, Any]:
    """Return the GPUs, what is wrong with them or their driver, and what to do about it."""
    container = run(["systemd-detect-virt", "--container"]) not in ("", "none")
    driver, found = examine(devices(), container=container, seconds=DRIVER_SECONDS)
    cards = [
        {
            "index": gpu["index"],
            "name": gpu["name"],
            "memory_bytes": gpu["memory_bytes"] or None,
            "used_bytes": gpu["memory_bytes"] - gpu["free_bytes"] if gpu["memory_bytes"] else None,
            "busy_percent": gpu["busy_percent"],
            "celsius": gpu["celsius"],
        }
        for gpu in found
    ]
    if driver["problem"]:
        return {"gpus": cards, "gpu_fault": driver["problem"], "gpu_next": driver["next"]}
    faults = gpu_faults(found, driver)
    says = "; ".join(fault.says for fault in faults)
    return {"gpus": cards, "gpu_fault": says, "gpu_next": faults[0].fix if faults else ""}


def uptime() -> float:
    """Return the seconds since boot, in containers as well, where /proc/uptime is that of the machine."""
    now = float((read("/proc/uptime").split() or ["0"])[0])
    started = read("/proc/1/stat").rpartition(")")[2].split()
    return round(now - int(started[19]) / os.sysconf("SC_CLK_TCK"), 1) if len(started) > 19 else now


def available(text: str) -> int:
    """Return the bytes of memory that programs can still get."""
    found = [line.split()[1] for line in text.splitlines() if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else 0


def disks(paths: list[str]) -> list[dict[str, Any]]:
    """Return the file system of each path with its size and free bytes, each once."""
    found = {}
    for path in paths:
        place = next(str(one) for one in (Path(path), *Path(path).parents) if one.exists())
        # df is another process, so a dead network mount costs a time limit and not the answer.
        words = run(["df", "-B1", "--output=size,avail,target", place], ANSWER_SECONDS).splitlines()[-1:]
        size, _, rest = (words[0].strip() if words else "").partition(" ")
        free, _, mount = rest.strip().partition(" ")
        if size.isdigit() and free.isdigit():
            found[mount] = {"mount": mount.strip(), "size_bytes": int(size), "free_bytes": int(free)}
    return list(found.values())


def unit(name: str) -> dict[str, Any]:
    """Return what systemd says of a unit."""
    said = unit_values(run(["systemctl", "show", name, "--property", UNIT_FIELDS]))
    entered = int(said.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
    running = said.get("ActiveState") == "active"
    return {
        "load": said.get("LoadState", ""),
        "active": said.get("ActiveState", "unknown"),
        "sub": said.get("SubState", ""),
        "result": said.get("Result", ""),
        "restarts": int(said.get("NRestarts") or 0),
        "pid": int(said.get("MainPID") or 0),
        "uptime_s": round(time.monotonic() - entered, 1) if running and entered else None,
    }


def service(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the state of one service: its unit, its health page and the models it names."""
    found = dict(
        unit(asked["unit"]), name=asked["name"], unit=asked["unit"], health=None, models=[], error=""
    )
    if found["active"] not in ("active", "activating", "reloading"):
        return found
    engine = Engine(asked["url"], key=read_key(asked["unit"]), seconds=ANSWER_SECONDS)
    try:
        found["health"] = engine.status(asked["health_path"], with_key=False)
        found["models"] = [str(model.get("id", "")) for model in engine.models()]
    except (NoAnswerError, OSError) as error:
        found["error"] = str(error)
    return found


def main(text: str) -> str:
    """Return the state of the host as JSON."""
    asked = json.loads(text)
    memory = read("/proc/meminfo")
    # First, because it forks, which a program with threads must not.
    cards = gpus()
    with ThreadPoolExecutor(max_workers=max(len(asked["services"]), 1)) as pool:
        services = pool.map(service, asked["services"])
        document = {
            "os": parse_os_release(read("/etc/os-release") or read("/usr/lib/os-release"))["name"],
            "kernel": read("/proc/sys/kernel/osrelease"),
            "uptime_s": uptime(),
            "load": list(os.getloadavg()),
            "cpus": len(os.sched_getaffinity(0)),
            "memory_bytes": parse_meminfo(memory),
            "available_bytes": available(memory),
            "disks": disks(asked["paths"]),
            **cards,
            "services": list(services),
            "unnamed": unnamed([one["unit"] for one in asked["services"]]),
        }
    return json.dumps(document)
