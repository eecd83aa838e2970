# SPDX-License-Identifier: Apache-2.0
"""Give end-to-end tests hands: run the tool, work on lab hosts past SSH, control the hub."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from provisioner import lab
from provisioner.fleet import inventory
from provisioner.lab.hosts import UNTIL

LAB = "e2e"
HUB_PORT = 2289
# Nothing here takes longer than this; a test that hangs must fail, not block the whole run.
LONGEST_SECONDS = 900


@dataclass(frozen=True)
class Done:
    """Hold what one `provision` command did."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """Return the JSON document, which must be all there is on standard output."""
        document: dict[str, Any] = json.loads(self.out)
        return document

    def host(self, name: str) -> dict[str, Any]:
        """Return the report of one host."""
        return next(host for host in self.report["hosts"] if host["name"] == name)


@contextmanager
def started(fleet: Path, name: str, *only: str) -> Iterator[lab.LabReport]:
    """Start the hosts of a fleet, or some of them, for a while; PROVISION_KEEP_LAB=1 leaves them."""
    if shutil.which("mmdebstrap") is None or shutil.which("podman") is None:
        pytest.fail("podman and mmdebstrap are needed for lab hosts: run scripts/bootstrap")
    keep = bool(os.environ.get("PROVISION_KEEP_LAB"))
    if not keep:
        lab.down(name, say=print)
    hosts = inventory.load(str(fleet)).hosts
    yield lab.up({host: hosts[host] for host in only or hosts}, say=print)
    if not keep:
        lab.down(name, say=print)


@dataclass(frozen=True)
class Machines:
    """Work on the lab hosts past SSH, and on them with the tool."""

    inventory: Path
    lab: str = LAB
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def provision(self, *arguments: str, code: int | None = 0) -> Done:
        """Run a `provision` command to its end, and check its exit code."""
        argv = [sys.executable, "-m", "provisioner", *arguments]
        done = subprocess.run(
            argv,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        found = Done(done.returncode, done.stdout, done.stderr)
        assert code is None or found.code == code, (
            f"exit {found.code}\n{found.out[-4000:]}\n{found.err[-6000:]}"
        )
        return found

    def apply(self, *arguments: str, code: int | None = 0) -> Done:
        """Apply the fleet's inventory with consent, and read the report as JSON."""
        return self.provision("apply", str(self.inventory), "--yes", "--json", *arguments, code=code)

    def verify(self, *arguments: str, code: int | None = 0) -> Done:
        """Verify the fleet, and read the report as JSON."""
        return self.provision("verify", str(self.inventory), "--json", *arguments, code=code)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a `provision` command and leave it running."""
        argv = [sys.executable, "-m", "provisioner", *arguments]
        return subprocess.Popen(
            argv,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def sh(self, host: str, script: str, *, check: bool = True) -> str:
        """Run a shell script as root on a host and return what it prints."""
        return lab.exec_in(host, ["sh", "-c", script], lab=self.lab, check=check).text

    def pid(self, host: str, unit: str = "vllm.service") -> int:
        """Return the main process of a unit; 0 when it does not run."""
        return int(self.sh(host, f"systemctl show --property=MainPID --value {unit}"))

    def wait(self, host: str, script: str, what: str, seconds: float = 300) -> str:
        """Run a script until it succeeds, and return what it printed."""
        return wait_on(host, self.lab, script, what, seconds)


def phases(*names: str) -> list[str]:
    """Return the options that limit an apply to some phases, where the others would only look again."""
    return [word for name in names for word in ("--phase", name)]


def wait_on(host: str, at: str, script: str, what: str, seconds: float) -> str:
    """Run a script on a host of a lab until it succeeds, and return what it printed."""

    def attempt() -> str | None:
        result = lab.exec_in(host, ["sh", "-c", UNTIL, "sh", script], lab=at, check=False)
        return (result.text or "done") if result.code == 0 else None

    return wait_for(attempt, f"{host}: {what}", seconds)


def wait_for(probe: Callable[[], str | None], what: str, seconds: float) -> str:
    """Ask until there is an answer; fail with `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while (answer := probe()) is None:
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.5)
    return answer


@dataclass(frozen=True)
class Hub:
    """Control the faults of a lab's hub, and read what it has sent."""

    port: int = HUB_PORT

    def faults(self, *faults: Mapping[str, Any]) -> None:
        """Replace all faults by these."""
        self._call("PUT", "/_faults", json.dumps(faults).encode())

    def reset(self) -> None:
        """Forget all faults and counts."""
        self._call("DELETE", "/_faults")
        self._call("DELETE", "/_stats")

    def sent(self) -> dict[str, dict[str, int]]:
        """Return requests and bytes of every file that was asked for."""
        counts: dict[str, Any] = json.loads(self._call("GET", "/_stats"))
        return {path: count for path, count in counts.items() if isinstance(count, dict)}

    def bytes_of(self, suffix: str) -> int:
        """Return the bytes sent of the files that end so."""
        return sum(count.get("bytes", 0) for path, count in self.sent().items() if path.endswith(suffix))

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data=body, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback only
            content: bytes = answer.read()
            return content


def interrupt(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Send a signal to a running command; return its exit code and what it said."""
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said


def inventory_with(folder: Path, fleet: Path, replaced: Sequence[tuple[str, str]]) -> Path:
    """Write a copy of an inventory with some of its text replaced."""
    text = fleet.read_text()
    for before, after in replaced:
        assert before in text, f"{before!r} is not in {fleet}"
        text = text.replace(before, after)
    path = folder / fleet.name
    path.write_text(text)
    return path
