# SPDX-License-Identifier: Apache-2.0
"""Keep the four packages of NVIDIA's container toolkit at exactly one version."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from ..driver.hold import UNLOCKED
from ..host.commands import call
from ..host.fault import Fault
from ..host.packages import RECORDING, REPAIR, Apt, Dnf, manager
from ..host.settings import read_file, write_file
from ..jobs.unit import journal_tail, start_or_attach, wait

# Each depends on the others by "at least", so a version that is given for one alone moves the rest.
TOOLKIT = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
# Docker's packages of its own; the distribution's would drive them out.
DOCKER_CE = "docker-ce"
LOCKS = Path("/etc/dnf/plugins/versionlock.list")
# The unit and the record of os_packages: one transaction at a time, and what came along is found by it.
UNIT = "provision-job-packages"
RECORD = Path("/var/lib/provision/packages.transaction")
BROUGHT = Path("/var/lib/provision/packages.json")
QUERY_SECONDS = 60
TRANSACTION_SECONDS = 3600
DNF_INSTALL = 'sh -c "$before"; dnf -y install --refresh --setopt=install_weak_deps=False'
OF_THE_TOOLKIT = re.compile(rf"!?({'|'.join(map(re.escape, TOOLKIT))})-([0-9]+:)?[0-9*].*")


class Purpose(NamedTuple):
    """Say what a transaction is to do, and what to do when it fails."""

    what: str
    step: str


def is_apt() -> bool:
    """Tell whether this host takes packages with apt."""
    return isinstance(manager(), Apt)


def versions(*names: str) -> dict[str, str]:
    """Return the versions of those packages that are installed, without an epoch."""
    if is_apt():
        text = "${db:Status-Abbrev}|${Package}|${Version}\\n"
        argv = ("dpkg-query", "-W", "-f", text, *names)
    else:
        argv = ("rpm", "-q", "--qf", "ii |%{NAME}|%{VERSION}-%{RELEASE}\\n", *names)
    # Both fail when one of the packages is not there, and name the others nevertheless.
    return parse_versions(call(*argv, seconds=QUERY_SECONDS).stdout)


def serving(engine: tuple[str, ...]) -> tuple[str, ...]:
    """Return the packages of the engine that is to serve: Docker's own, where they are there, are as good."""
    return (DOCKER_CE,) if engine[:1] == ("docker.io",) and versions(DOCKER_CE) else engine


def parse_versions(listed: str) -> dict[str, str]:
    """Map installed packages to their versions."""
    rows = (line.split("|") for line in listed.splitlines())
    return {row[1]: row[2].rpartition(":")[2] for row in rows if len(row) == 3 and row[0][1:2] == "i"}


def candidate(name: str) -> str:
    """Return the version that apt would install, empty where nobody knows without asking the network."""
    if not is_apt():
        return ""
    shown = call("apt-cache", "policy", name, seconds=QUERY_SECONDS).stdout
    found = re.search(r"^ *Candidate: *([0-9]\S*)", shown, re.MULTILINE)
    return found.group(1).rpartition(":")[2] if found else ""


def held() -> set[str]:
    """Return the toolkit's packages that apt holds."""
    done = call("apt-mark", "showhold", seconds=QUERY_SECONDS)
    return {line.partition(":")[0] for line in done.stdout.split()} & set(TOOLKIT)


def mark(verb: str, names: list[str]) -> None:
    """Hold packages, or let go of them."""
    done = call("apt-mark", verb, *names, seconds=QUERY_SECONDS)
    if done.returncode:
        raise Fault(f"apt-mark {verb} failed: {(done.stderr or done.stdout).strip()}", "run it on the host")


def locks() -> str:
    """Return dnf's list of locked versions."""
    return read_file(str(LOCKS)) or ""


def write_locks(text: str) -> None:
    """Replace dnf's list of locked versions; an empty one goes, as the plugin makes its own."""
    write_file(str(LOCKS), text)


def toolkit_locks(text: str) -> list[str]:
    """Return the lines that lock packages of the toolkit."""
    return [line for line in text.splitlines() if OF_THE_TOOLKIT.fullmatch(line.strip())]


def with_locks(text: str, lines: list[str]) -> str:
    """Return the list with these lines, and no others, for the toolkit's packages."""
    old = toolkit_locks(text)
    kept = [line for line in text.splitlines() if line not in old]
    return "".join(line + "\n" for line in [*kept, *lines])


def lock_lines(version: str) -> list[str]:
    """Return the lines that lock the toolkit at a version."""
    return [f"{name}-0:{version}.*" for name in TOOLKIT]


def brought() -> set[str]:
    """Return the packages that transactions of ours have brought."""
    try:
        entries = json.loads(BROUGHT.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    return {name for entry in entries for name in entry["installed"]}


def podman_running() -> list[str]:
    """Name the containers that podman runs for root."""
    if not shutil.which("podman"):
        return []
    argv = ("podman", "ps", "--format", "{{.Names}}")
    names: list[str] = call(*argv, seconds=QUERY_SECONDS).stdout.split()
    return names


def change(version: str, names: list[str], poll: float) -> bool:
    """Bring installed packages to a version, as a unit, and tell whether that has ended."""
    packages = manager()
    between = "=" if isinstance(packages, Apt) else "-"
    exact = [f"{name}{between}{version}" for name in names]
    what = f"bring {', '.join(names)} to {version}"
    step = "see whether the repository has container_runtime_toolkit_version, then apply again"
    return _transact(script(packages), TOOLKIT, exact, Purpose(what, step), poll)


def add_modules(names: list[str], engine: tuple[str, ...], poll: float) -> bool:
    """Install packages of kernels that are there, beside what dnf locks; they go with the engine."""
    purpose = Purpose(
        f"install {', '.join(names)}", "see whether dnf's repositories have them, then apply again"
    )
    return _transact(f'{DNF_INSTALL} {UNLOCKED} -- "$@"', engine, names, purpose, poll)


def _transact(text: str, asked: tuple[str, ...], names: list[str], purpose: Purpose, poll: float) -> bool:
    """Run a script of a transaction for these names as a unit, and tell whether that has ended."""
    packages = manager()
    properties = {
        "Description": purpose.what,
        "Environment": list(packages.environment),
        "RuntimeMaxSec": TRANSACTION_SECONDS,
    }
    RECORD.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    words = ["sh", str(RECORD), json.dumps(list(asked)), packages.listing, *names]
    start_or_attach(UNIT, ["/bin/sh", "-ec", RECORDING + text, *words], properties=properties)
    now = wait(UNIT, poll)
    if now.failed:
        tail = journal_tail(UNIT, 20, now.invocation)
        raise Fault(f"the attempt to {purpose.what} failed:\n{tail}", purpose.step)
    return not now.running


def script(packages: Apt | Dnf) -> str:
    """Return the shell script that brings packages to exact versions, older ones too."""
    if isinstance(packages, Apt):
        hook = '-o DPkg::Pre-Invoke::="$before"'
        # The hold is ours, and it holds what this very change is about.
        allowed = "--allow-downgrades --allow-change-held-packages"
        repair = f"{' '.join(REPAIR)}; " if packages.interrupted() else ""
        return (
            f"{repair}apt-get update -o Acquire::Retries=3 || true; "
            f'apt-get install {packages.options} {allowed} {hook} -- "$@"'
        )
    return f'{DNF_INSTALL} -- "$@"'
