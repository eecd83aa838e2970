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
from urllib.parse import urlsplit

from provisioner import settings
from provisioner.errors import HostError
from provisioner.fleet import variables
from provisioner.fleet.services import Service
from provisioner.plain import one_line
from provisioner.remote import program
from provisioner.remote.program import NoPython
from provisioner.remote.reach import Way
from provisioner.remote.ssh import Remote

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
HUBS = {"huggingface": "model_store_huggingface_endpoint", "modelscope": "model_store_modelscope_endpoint"}


@dataclass(frozen=True)
class Finding:
    """Say one thing about a host: what was seen and, unless it is all right, what to do."""

    host: str
    level: str
    check: str
    says: str
    fix: str = ""


def controller(ways: Sequence[Way]) -> list[Finding]:
    """Return what there is to say of this machine."""
    return [Finding(CONTROLLER, *found) for found in (_software(), *_state_folder(), *_keys(ways))]


def _software() -> tuple[str, ...]:
    versions = f"Python {platform.python_version()}, ansible-core {metadata.version('ansible-core')}"
    if shutil.which("ssh") is None:
        return (
            WRONG,
            "ssh",
            f"{versions}, but no ssh: Ansible reaches hosts by it",
            "install OpenSSH's client",
        )
    return OK, "software", f"{versions}, ssh"


def _state_folder() -> Iterator[tuple[str, ...]]:
    folder = settings.state_home()
    place = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(place, os.W_OK):
        yield WRONG, "state", f"{place} cannot be written", "set XDG_STATE_HOME to a folder of yours"
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
            yield WRONG, "key", f"others may read {key}, so ssh ignores it", f"chmod 600 {key}"


def ask(remote: Remote, seconds: float) -> dict[str, Any]:
    """Return the facts of a host in one round trip, with the skew of its clock; raises HostError."""
    way = remote.way
    asked = {
        "units": [one.unit for one in way.services],
        "paths": ["/", "/opt", "/var/cache", *way.model_folders],
        "addresses": addresses(way),
    }
    remote.open()
    before = time.time()
    facts = program.call(remote, "doctor", asked, seconds)
    # The host read its clock twice between these two moments, so only what lies outside them is skew.
    least, most = facts["clock_end"] - time.time(), facts["clock"] - before
    facts["skew_s"] = 0.0 if least <= 0 <= most else round(least if abs(least) < abs(most) else most, 1)
    return facts


def addresses(way: Way) -> list[dict[str, Any]]:
    """Return what the host's services are fetched from, with the proxies that the inventory sets for it."""
    given = {**variables.defaults("model_store"), **variables.defaults("python_env"), **way.variables}
    hubs = sorted({HUBS[one.model.source] for one in way.services if one.model.source in HUBS})
    asked = [("hub", given[word], "model_store") for word in hubs]
    asked += [("packages of Python", given["python_env_index_url"], "python_env")] * bool(
        given["python_env_index_url"]
    )
    fetched = [
        {
            "what": what,
            "url": url,
            "environment": given.get(f"{role}_environment") or {},
            "ca_bundle": given.get(f"{role}_ca_bundle") or "",
        }
        for what, url, role in asked
    ]
    fetched += [one for service in way.services for one in _of_engine(service)]
    return [
        one
        for number, one in enumerate(fetched)
        if str(one["url"]).startswith(("http://", "https://")) and one not in fetched[:number]
    ]


def _of_engine(service: Service) -> Iterator[dict[str, Any]]:
    """Yield where an engine's releases and models come from, as far as it has words for that."""
    role = service.engine.role
    proxy = service.settings.get(f"{role}_https_proxy")
    common = {"environment": {"HTTPS_PROXY": proxy} if proxy else {}, "ca_bundle": ""}
    archive = urlsplit(str(service.settings.get(f"{role}_url") or ""))
    # Any answer counts, so the machine will do: the path may hold {version} and {arch}.
    yield {"what": "releases", "url": f"{archive.scheme}://{archive.netloc}/", **common}
    if service.model.source == service.engine.name:
        yield {"what": "registry of models", "url": service.settings.get(f"{role}_registry"), **common}


def unreachable(way: Way, error: HostError) -> Finding:
    """Return the finding about a host that could not be asked."""
    level, check = (NOTE, "python") if isinstance(error, NoPython) else (WRONG, "reachable")
    return Finding(way.host, level, check, error.message, error.next_step or "look at the host")


def judge(way: Way, facts: Mapping[str, Any]) -> list[Finding]:
    """Return the findings about a host; one that sums up what is all right comes first."""
    found = [
        Finding(way.host, *finding)
        for check in (_system, _disks, _clock, _ways_out, _graphics, _listening, _unnamed)
        for finding in check(way, facts)
    ]
    listening = Finding(way.host, OK, "listening", _heard(facts))
    return [Finding(way.host, OK, "host", _summary(facts)), listening, *found]


def _heard(facts: Mapping[str, Any]) -> str:
    """Name what the network can reach, and what of ours listens on loopback."""
    sockets = facts["listening"]
    wide = [one for one in sockets if not one["address"].startswith(("127.", "::1"))]
    ours = [one for one in sockets if one["unit"] and one not in wide]
    open_to_all = [f"{one['address']}:{one['port']} {one['unit'] or one['process']}" for one in wide]
    inside = [
        f"{unit} {sum(one['unit'] == unit for one in ours)}"
        for unit in dict.fromkeys(one["unit"] for one in ours)
    ]
    parts = [", ".join(open_to_all) or "nothing that the network can reach"]
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
    parts += [f"reaches {', '.join(dict.fromkeys(reached))}"] if reached else []
    return one_line("; ".join(parts), 400)


def _system(_way: Way, facts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    version = facts["python"]
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST_PYTHON:
        yield (
            WRONG,
            "python",
            f"Python {version} is older than 3.8",
            "install a newer python3 and name it in ansible_python_interpreter",
        )
    if not facts["systemd"]:
        yield WRONG, "systemd", "PID 1 is not systemd", "use a machine or a container that boots systemd"
    if facts["load"] > BUSY:
        yield (
            NOTE,
            "load",
            f"load of {facts['load']:.1f} for each processor",
            "see what runs there: provision exec INVENTORY -- top -bn1",
        )


def _disks(_way: Way, facts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    least = variables.defaults("host_base")["host_base_minimum_free_bytes"]
    for disk in facts["disks"]:
        if disk["free_bytes"] < least:
            says = f"{disk['free_bytes'] / GIB:.1f} GiB free on {disk['mount']}, {least / GIB:.0f} are needed"
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
            "set it, and keep it by a time service such as chrony",
        )
    if facts["can_set_clock"] and not facts["time_service"]:
        yield (
            NOTE,
            "time service",
            "nothing keeps the clock right",
            "provision apply starts one; or install chrony",
        )


def _ways_out(_way: Way, facts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for one in facts["reached"]:
        if not one["resolves"]:
            says = f"the name {one['name']} ({one['what']}) cannot be resolved there"
            yield WRONG, "dns", says, "mend /etc/resolv.conf there, or set a mirror that it can resolve"
        elif "CERTIFICATE" in one["error"].upper():
            says = f"{one['url']} ({one['what']}): its certificate is not trusted there"
            yield WRONG, "tls", says, "name your company's CA in host_base_ca_certificates and apply"
        elif one["error"]:
            says = f"{one['url']} ({one['what']}) cannot be reached from there: {one_line(one['error'], 120)}"
            yield (
                WRONG,
                "network",
                says,
                "open the way in the firewall, or set a proxy or a mirror in the inventory",
            )


def _graphics(_way: Way, facts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    cards = facts["graphics"]
    if cards["expected"] and not cards["loaded"] and facts["secure_boot"]:
        says = f"{cards['problem']['says']}, and Secure Boot lets only signed modules load"
        step = "enrol the driver's key with mokutil, or switch Secure Boot off in the firmware"
        yield WRONG, "secure boot", says, step
    elif cards["problem"]:
        # What is not there yet is no fault: an apply may be about to bring it.
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
                says = f"{service.unit} wants port {service.port}, which {holder} holds"
                yield WRONG, "port", says, "stop that program, or give the service another serve_port"
            elif (
                socket["unit"] == service.unit and socket["address"] in EVERY and service.address not in EVERY
            ):
                says = f"{service.unit} listens on {where}, the inventory asks for {service.address}"
                yield (
                    WRONG,
                    "listening",
                    says,
                    "provision apply; look for a drop-in: systemctl cat " + service.unit,
                )


def _unnamed(_way: Way, facts: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for unit in facts["unnamed"]:
        says = f"{unit} was made by provision, and the inventory no longer names it"
        yield NOTE, "services", says, "provision apply removes it, once you agree"
