# SPDX-License-Identifier: Apache-2.0
"""Collect what `provision doctor` judges about a host; it sends this over SSH."""

from __future__ import annotations

import json
import os
import platform
import re
import ssl
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..engine import replaced
from ..gpu.health import gpu_faults, xid_faults, xid_notes
from ..gpu.kernel import secure_boot
from ..gpu.nvml import NOT_LOADED
from ..gpu.state import NO_DRIVER, inspect
from ..host import proxy
from ..host.facts import can_set_clock, is_container, listening_sockets, os_release, read, run, time_service
from ..host.managed import unnamed
from ..host.sources import in_use, source_files
from .status import disks

REACH_SECONDS = 8
# With these, a proxy refuses or cannot reach what it is asked for.
REFUSALS = (403, 407, 500, 502, 503, 504)
# Eight healthy cards without persistence take half a minute to wake.
DRIVER_SECONDS = 35
# Where apt and dnf fetch packages from; what contains variables ends before the first.
ADDRESS = re.compile(
    r"\s*(?:deb(?:-src)?\s+(?:\[[^\]]*\]\s+)?|URIs:\s*|(?:baseurl|mirrorlist|metalink)\s*=\s*)(https?://[^\s$]+)"
)


def package_sources(root: Path = Path("/")) -> list[str]:
    """Return the addresses that the package manager fetches from, one for each machine."""
    lines = (line for text in source_files(root).values() for line in in_use(text))
    found = [match.group(1) for match in map(ADDRESS.match, lines) if match]
    machines = {urlsplit(address).netloc: address for address in reversed(found)}
    return sorted(machines.values())


def way_out(address: str, environment: dict[str, str]) -> str:
    """Return the URL of the proxy by which an address is asked, empty where it is asked directly."""
    parts = urlsplit(address)
    around = {"no": environment.get("no_proxy", "")}
    if urllib.request.proxy_bypass_environment(parts.hostname or "", around):  # type: ignore[attr-defined]
        return ""
    return environment.get(f"{parts.scheme}_proxy", "")


def reach(target: dict[str, Any], host: dict[str, str]) -> dict[str, Any]:
    """Try one address; any answer of its server counts, since only the way there is tested.

    `host` is the environment of the host's proxy, over which the target's own counts.
    """
    address = target["url"]
    environment = {**host, **proxy.spelt(target.get("environment", {}))}
    through = way_out(address, environment)
    parts = proxy.parts(through)
    name = urlsplit(address).hostname or ""
    found = {"what": target["what"], "url": address, "name": name, "resolves": True, "error": ""}
    found["proxy"] = f"{parts.host}:{parts.port}" if parts else ""
    found["resolves"] = bool(run(["getent", "ahosts", parts.host if parts else name], REACH_SECONDS))
    if not found["resolves"]:
        return found
    context = ssl.create_default_context()
    if target.get("ca_bundle") and Path(target["ca_bundle"]).is_file():
        context.load_verify_locations(target["ca_bundle"])
    # Without any, those of this process are used.
    proxies = {urlsplit(address).scheme: through} if through else {}
    handler = urllib.request.ProxyHandler(proxies if environment else None)
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), handler)
    headers = {"User-Agent": "provision-doctor"}
    # The controller sends addresses of http and https only.
    request = urllib.request.Request(address, method="HEAD", headers=headers)  # noqa: S310 - see above
    try:
        opener.open(request, timeout=REACH_SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
        if through and error.code in REFUSALS:
            found["error"] = f"the proxy answered HTTP {error.code} {error.reason}"
    except (OSError, ValueError) as error:
        found["error"] = str(getattr(error, "reason", "") or error)
    return found


def graphics() -> dict[str, Any]:
    """Return the number of expected GPUs, the state of their driver, and every problem with its fix."""
    _, driver, gpus = inspect(container=is_container(), seconds=DRIVER_SECONDS)
    problem = {"says": driver["problem"], "fix": driver["next"]} if driver["problem"] else None
    faults = xid_faults(driver) if problem else gpu_faults(gpus, driver)
    return {
        "expected": driver["expected"],
        # Whether a driver still has to be installed or loaded, which Secure Boot can prevent.
        "loaded": driver["state"] not in (NO_DRIVER, NOT_LOADED),
        "installed": driver["state"] != NO_DRIVER,
        "problem": problem,
        "faults": [asdict(one) for one in faults],
        "notes": [asdict(one) for one in xid_notes(driver)],
    }


def sockets(units: list[str]) -> list[dict[str, Any]]:
    """Return the listening sockets, each with our unit that owns it."""
    found: list[dict[str, Any]] = listening_sockets(Path("/proc"))
    for socket in found:
        group = read(f"/proc/{socket['pid']}/cgroup")
        socket["unit"] = next((unit for unit in units if f"/{unit}" in group), "")
    return found


def main(text: str) -> str:
    """Return the facts as JSON."""
    began = time.time()
    given = json.loads(text)
    # First, because it forks, which a program with threads must not.
    cards = graphics()
    packages = [{"what": "packages", "url": url} for url in package_sources()]
    others = unnamed(given["units"])
    with ThreadPoolExecutor(max_workers=16) as pool:
        reached = pool.map(partial(reach, host=given.get("proxy", {})), [*given["addresses"], *packages])
        document = {
            "clock": began,
            "os": os_release(),
            "arch": platform.machine(),
            "python": platform.python_version(),
            "systemd": Path("/run/systemd/system").is_dir(),
            "disks": disks(given["paths"]),
            "secure_boot": secure_boot(),
            "graphics": cards,
            "time_service": time_service() != "none",
            "can_set_clock": can_set_clock(),
            "listening": sockets([*given["units"], *others]),
            "unnamed": others,
            "replaced": [asdict(one) for one in replaced.services()],
            "reached": list(reached),
            "load": os.getloadavg()[0] / max(len(os.sched_getaffinity(0)), 1),
            # Last, since a driver can take its time.
            "clock_end": time.time(),
        }
    return json.dumps(document)
