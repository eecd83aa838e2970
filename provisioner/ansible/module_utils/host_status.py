# SPDX-License-Identifier: Apache-2.0
"""Say how a host and its services are, in one look; `provision status` sends this over SSH."""

from __future__ import annotations

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ansible.module_utils.commands import CommandFault, call, unit_values
from ansible.module_utils.engine_client import Engine, NoAnswerError
from ansible.module_utils.engine_files import read_key, unnamed
from ansible.module_utils.host_facts import parse_meminfo, parse_os_release, run

ANSWER_SECONDS = 5
# A card that fell off the bus can hold nvidia-smi for minutes.
NVIDIA_SMI_SECONDS = 10
NVIDIA_SMI_FIELDS = "index,name,memory.total,memory.used,utilization.gpu,temperature.gpu"
UNIT_FIELDS = "LoadState,ActiveState,SubState,Result,NRestarts,MainPID,ActiveEnterTimestampMonotonic"
MEBIBYTE = 1024 * 1024


def read(path: str) -> str:
    """Return a small file's text, or nothing when it is not there."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def parse_cards(text: str) -> list[dict[str, Any]]:
    """Return the GPUs of nvidia-smi's table; what a card does not tell is None."""
    cards = []
    for line in text.splitlines():
        words = [word.strip() for word in line.split(",")]
        if len(words) != 6 or not words[0].isdigit():
            continue
        total, used, busy, celsius = (int(word) if word.isdigit() else None for word in words[2:])
        cards.append(
            {
                "index": int(words[0]),
                "name": words[1],
                "memory_bytes": None if total is None else total * MEBIBYTE,
                "used_bytes": None if used is None else used * MEBIBYTE,
                "busy_percent": busy,
                "celsius": celsius,
            }
        )
    return cards


def gpus() -> tuple[list[dict[str, Any]], str]:
    """Return the GPUs, and what the driver's tool says when it shows none."""
    if not shutil.which("nvidia-smi"):
        return [], ""
    query = [f"--query-gpu={NVIDIA_SMI_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        done = call("nvidia-smi", *query, seconds=NVIDIA_SMI_SECONDS)
    except CommandFault as fault:
        return [], str(fault)
    found = parse_cards(done.stdout)
    said = (done.stdout + done.stderr).strip().partition("\n")[0]
    return found, "" if found else said or "nvidia-smi prints nothing"


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
    with ThreadPoolExecutor(max_workers=max(len(asked["services"]), 1)) as pool:
        services = pool.map(service, asked["services"])
        cards, gpu_fault = gpus()
        document = {
            "os": parse_os_release(read("/etc/os-release") or read("/usr/lib/os-release"))["name"],
            "kernel": os.uname().release,
            "uptime_s": uptime(),
            "load": list(os.getloadavg()),
            "cpus": len(os.sched_getaffinity(0)),
            "memory_bytes": parse_meminfo(memory),
            "available_bytes": available(memory),
            "disks": disks(asked["paths"]),
            "gpus": cards,
            "gpu_fault": gpu_fault,
            "services": list(services),
            "unnamed": unnamed([one["unit"] for one in asked["services"]]),
        }
    return json.dumps(document)
