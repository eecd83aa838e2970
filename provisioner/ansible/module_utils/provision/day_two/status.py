# SPDX-License-Identifier: Apache-2.0
"""Report the state of a host and its services in one look; `provision status` sends this over SSH."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..engine import replaced
from ..engine.client import Engine, NoAnswerError
from ..engine.files import read_key
from ..gpu.health import gpu_faults
from ..gpu.pci import devices
from ..gpu.state import examine
from ..host.facts import file_system, init_started, is_container, os_release, parse_meminfo, read, run
from ..host.managed import unnamed
from ..host.paths import existing_parent
from ..host.systemd import PROPERTIES, state_of, unit_values

ANSWER_SECONDS = 5
# A card that fell off the bus can hold the driver for minutes, and healthy ones take their time to wake.
DRIVER_SECONDS = 20


def gpus() -> dict[str, Any]:
    """Return the GPUs, what is wrong with them or their driver, and what to do about it."""
    driver, found = examine(devices(), container=is_container(), seconds=DRIVER_SECONDS)
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
    """Return the seconds since boot, in containers too, where /proc/uptime is that of the machine."""
    now = float((read("/proc/uptime").split() or ["0"])[0])
    return round(now - init_started() / os.sysconf("SC_CLK_TCK"), 1)


def disks(paths: list[str]) -> list[dict[str, Any]]:
    """Return the file system of each path with its size and free bytes, each once."""
    found = filter(None, (file_system(str(existing_parent(Path(path)))) for path in paths))
    return list({known["mount"]: known for known in found}.values())


def unit(name: str) -> dict[str, Any]:
    """Return the state of a unit as systemd reports it."""
    seen = state_of(unit_values(run(["systemctl", "show", f"--property={PROPERTIES}", name])))
    return {
        "load": seen.load,
        "active": seen.active if seen.load else "unknown",
        "sub": seen.sub,
        "result": seen.result,
        "restarts": seen.restarts,
        "pid": seen.main_pid,
        "uptime_s": round(seen.active_seconds, 1) or None,
        "replaced": replaced.libraries(seen.control_group),
    }


def service(known: dict[str, Any]) -> dict[str, Any]:
    """Return the state of one service: its unit, its health page and the models it lists."""
    found = {"name": known["name"], "unit": known["unit"], **unit(known["unit"])}
    found.update(health=None, models=[], error="")
    if found["active"] not in ("active", "activating", "reloading"):
        return found
    engine = Engine(known["url"], key=read_key(known["unit"]), seconds=ANSWER_SECONDS)
    try:
        found["health"] = Engine(known["url"]).status(known["health_path"])
        found["models"] = engine.models()
    except (NoAnswerError, OSError) as error:
        found["error"] = str(error)
    return found


def main(text: str) -> str:
    """Return the state of the host as JSON."""
    given = json.loads(text)
    memory = read("/proc/meminfo")
    # First, because it forks, which a program with threads must not.
    cards = gpus()
    with ThreadPoolExecutor(max_workers=max(len(given["services"]), 1)) as pool:
        services = pool.map(service, given["services"])
        document = {
            "os": os_release()["name"],
            "kernel": read("/proc/sys/kernel/osrelease"),
            "uptime_s": uptime(),
            "load": list(os.getloadavg()),
            "cpus": len(os.sched_getaffinity(0)),
            "memory_bytes": parse_meminfo(memory),
            "available_bytes": parse_meminfo(memory, "MemAvailable"),
            "disks": disks(given["paths"]),
            **cards,
            "services": list(services),
            "unnamed": unnamed([one["unit"] for one in given["services"]]),
        }
    return json.dumps(document)
