# SPDX-License-Identifier: Apache-2.0
"""Judge what could keep hosts from being provisioned or from serving: findings, each with its fix."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from provisioner import settings
from provisioner.errors import HostError
from provisioner.fleet import variables
from provisioner.plain import one_line
from provisioner.remote import outward, program
from provisioner.remote.python import NoPython
from provisioner.remote.reach import Way
from provisioner.remote.ssh import Remote
from provisioner.runs.report import Replaced

WRONG = "wrong"
NOTE = "note"
OK = "ok"
CONTROLLER = "this machine"

OLDEST_PYTHON = (3, 8)
SKEW_WRONG_S, SKEW_NOTE_S = 30.0, 2.0
CONTROLLER_FREE = 1 << 30
BUSY = 4.0
EVERY = ("0.0.0.0", "::")  # noqa: S104 - compared with, never bound
GIB = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One finding about a host: what was found and, unless it is all right, how to fix it."""

    host: str
    level: str
    check: str
    says: str
    fix: str = ""


def controller(ways: Sequence[Way]) -> list[Finding]:
    """Return the findings about this machine."""
    return [Finding(CONTROLLER, *found) for found in (_software(), *_state_folder(), *_keys(ways))]


def _software() -> tuple[str, ...]:
    versions = f"Python {platform.python_version()}, ansible-core {metadata.version('ansible-core')}"
    if shutil.which("ssh") is None:
        return (
            WRONG,
            "ssh",
            f"{versions}, but no ssh, which Ansible needs to reach hosts",
            "install the OpenSSH client",
        )
    return OK, "software", f"{versions}, ssh"


def _state_folder() -> Iterator[tuple[str, ...]]:
    folder = settings.state_home()
    place = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(place, os.W_OK):
        step = "set XDG_STATE_HOME to a folder that you can write to"
        yield WRONG, "state", f"{place} is not writable", step
        return
    free = shutil.disk_usage(place).free
    says = f"{free / GIB:.1f} GiB free for run folders in {folder}"
    if free < CONTROLLER_FREE:
        yield WRONG, "disk", says, "free some space there, or set XDG_STATE_HOME"
    else:
        yield OK, "disk", says


def _keys(ways: Sequence[Way]) -> Iterator[tuple[str, ...]]:
    for key in sorted({key for way in ways for hop in way.hops for key in hop.keys if key.is_file()}):
        if key.stat().st_mode & 0o077:
            yield WRONG, "key", f"other users may read {key}, so ssh ignores it", f"chmod 600 {key}"


def inspect(remote: Remote, seconds: float) -> dict[str, Any]:
    """Return the facts of a host in one round trip, with the skew of its clock; raises HostError."""
    way = remote.way
    request = {
        "units": [one.unit for one in way.services],
        "paths": ["/", "/opt", "/var/cache", *way.model_folders],
        "addresses": outward.addresses(way),
        "proxy": outward.environment(way),
    }
    remote.open()
    before = time.time()
    facts = program.call(remote, "doctor", request, seconds)
    # The host read its clock twice between these two moments, so only a difference outside them is skew.
    least, most = facts["clock_end"] - time.time(), facts["clock"] - before
    facts["skew_s"] = 0.0 if least <= 0 <= most else round(least if abs(least) < abs(most) else most, 1)
    return facts


def unreachable(way: Way, error: HostError) -> Finding:
    """Return the finding about a host that could not be inspected."""
    level, check = (NOTE, "python") if isinstance(error, NoPython) else (WRONG, "reachable")
    return Finding(way.host, level, check, error.message, error.next_step or "log in and examine the host")


def judge(way: Way, facts: Mapping[str, Any]) -> list[Finding]:
    """Return the findings about a host, first a summary of what is all right."""
    found = [
        Finding(way.host, *finding)
        for check in (_system, _disks, _clock, outward.judge, _graphics, _listening, _unnamed, _replaced)
        for finding in check(way, facts)
    ]
    listening = Finding(way.host, OK, "listening", _heard(facts))
    return [Finding(way.host, OK, "host", _summary(facts)), listening, *found]


def _heard(facts: Mapping[str, Any]) -> str:
    """List what the network can reach, and which of our services listen on loopback."""
    sockets = facts["listening"]
    wide = [one for one in sockets if not one["address"].startswith(("127.", "::1"))]
    ours = [one for one in sockets if one["unit"] and one not in wide]
    open_to_all = [f"{one['address']}:{one['port']} {one['unit'] or one['process']}" for one in wide]
    inside = [
        f"{unit} {sum(one['unit'] == unit for one in ours)}"
        for unit in dict.fromkeys(one["unit"] for one in ours)
    ]
    parts = [", ".join(open_to_all) or "no port is open to the network"]
    return one_line("; ".join([*parts, *([f"ports on loopback: {', '.join(inside)}"] * bool(inside))]), 400)


def _summary(facts: Mapping[str, Any]) -> str:
    free = ", ".join(f"{disk['free_bytes'] / GIB:.0f} GiB free on {disk['mount']}" for disk in facts["disks"])
    reached = [one["name"] for one in facts["reached"] if one["resolves"] and not one["error"]]
    parts = [
        facts["os"]["name"],
        f"Python {facts['python']}",
        "sudo",
        free,
        f"clock {facts['skew_s']:+.1f} s",
    ]
    through = sorted({one["proxy"] for one in facts["reached"] if one["proxy"]})
    out = f" through {', '.join(through)}" if through else ""
    parts += [f"reaches {', '.join(dict.fromkeys(reached))}{out}"] if reached else []
    return one_line("; ".join(parts), 400)


def _system(_way: Way, facts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    version = facts["python"]
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST_PYTHON:
        step = "install a newer python3 and set ansible_python_interpreter to it"
        yield WRONG, "python", f"Python {version} is older than 3.8", step
    if not facts["systemd"]:
        yield WRONG, "systemd", "PID 1 is not systemd", "use a machine or a container that boots systemd"
    if facts["load"] > BUSY:
        yield (
            NOTE,
            "load",
            f"the load is {facts['load']:.1f} per processor",
            "see what is running: provision exec INVENTORY -- top -bn1",
        )


def _disks(_way: Way, facts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    least = variables.defaults("host_base")["host_base_minimum_free_bytes"]
    for disk in facts["disks"]:
        if disk["free_bytes"] < least:
            free, needed = disk["free_bytes"] / GIB, least / GIB
            says = f"only {free:.1f} GiB free on {disk['mount']}; {needed:.0f} GiB are needed"
            yield (
                WRONG,
                "disk",
                says,
                f"free space there or enlarge it: du -xh {disk['mount']} | sort -h | tail",
            )


def _clock(_way: Way, facts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    skew = facts["skew_s"]
    if abs(skew) > SKEW_NOTE_S:
        side = "ahead of" if skew > 0 else "behind"
        level = WRONG if abs(skew) > SKEW_WRONG_S else NOTE
        yield (
            level,
            "clock",
            f"{abs(skew):g} s {side} this machine",
            "set the clock, and run a time service such as chrony",
        )
    if facts["can_set_clock"] and not facts["time_service"]:
        yield (
            NOTE,
            "time service",
            "no time service is running",
            "provision apply starts one; or install chrony",
        )


def _graphics(_way: Way, facts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    cards = facts["graphics"]
    if cards["expected"] and not cards["loaded"] and facts["secure_boot"]:
        says = f"{cards['problem']['says']}, and Secure Boot allows only signed modules"
        step = "enrol the driver's key with mokutil, or turn Secure Boot off in the firmware"
        yield WRONG, "secure boot", says, step
    elif cards["problem"]:
        # A missing driver is not a fault: the next apply may install it.
        level = WRONG if cards["installed"] else NOTE
        yield level, "driver", cards["problem"]["says"], cards["problem"]["fix"]
    yield from ((WRONG, "GPU", one["says"], one["fix"]) for one in cards["faults"])
    yield from ((NOTE, "GPU", one["says"], one["fix"]) for one in cards["notes"])


def _listening(way: Way, facts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for service in way.services:
        for socket in facts["listening"]:
            where = f"{socket['address']}:{socket['port']}"
            if socket["unit"] in facts["unnamed"]:
                continue  # an apply removes it before it starts what needs the port
            if socket["port"] == service.port and socket["unit"] != service.unit:
                holder = f"{socket['process']} (pid {socket['pid']})"
                says = f"{service.unit} needs port {service.port}, which is in use by {holder}"
                yield WRONG, "port", says, "stop that program, or set another serve_port"
            elif (
                socket["unit"] == service.unit and socket["address"] in EVERY and service.address not in EVERY
            ):
                says = f"{service.unit} listens on {where}, but the inventory sets {service.address}"
                step = f"run provision apply, and look for a drop-in: systemctl cat {service.unit}"
                yield WRONG, "listening", says, step


def _unnamed(_way: Way, facts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for unit in facts["unnamed"]:
        says = f"{unit} was set up by provision and is no longer in the inventory"
        yield NOTE, "services", says, "provision apply removes it after you agree"


def _replaced(way: Way, facts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for one in facts["replaced"]:
        if one["libraries"]:
            found = Replaced(way.host, one["unit"], tuple(one["libraries"]))
            yield NOTE, "updates", found.says, found.restart
