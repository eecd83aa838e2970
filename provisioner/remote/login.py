# SPDX-License-Identifier: Apache-2.0
"""Give ssh the password that Ansible would give it, and explain a login that failed."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from provisioner import content
from provisioner.errors import HostError
from provisioner.plain import clean, one_line
from provisioner.remote.reach import Hop, Way
from provisioner.runs import failures

SSH_PORT = 22
# ssh's own exit code; a login shell that refuses has another.
SSH_FAILED = 255
_LOCKED = re.compile(r"Enter passphrase for (?:key )?'?(?P<key>[^\n]+?)'?: *$", re.MULTILINE)
_DENIED = re.compile(r"(?P<user>\S+)@(?P<host>\S+): Permission denied")
_UNKNOWN = re.compile(r"Could not resolve hostname (?P<name>[^\s:]+)")
_KEY_REFUSED = re.compile(r"Host key verification failed")
_BEFORE_HOST = re.compile(r"kex_exchange_identification|UNKNOWN port 65535")


@contextlib.contextmanager
def asked(way: Way) -> Iterator[dict[str, str]]:
    """Give the environment in which ssh asks our program, not a terminal; a file has the password."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    environment = {
        "SSH_ASKPASS": str(content.ssh_askpass()),
        "SSH_ASKPASS_REQUIRE": "force",
        # An ssh of before 8.4 asks a program only where there is a display.
        "DISPLAY": os.environ.get("DISPLAY") or "-",
        "PROVISION_PROMPT": way.prompt,
    }
    if way.password is None:
        yield {**environment, "PROVISION_PASSWORD": os.devnull}
        return
    with tempfile.TemporaryDirectory(
        prefix="provision-", dir=base if base and Path(base).is_dir() else None
    ) as folder:
        path = Path(folder) / "password"
        path.touch(mode=0o600)
        path.write_text(way.password)
        yield {**environment, "PROVISION_PASSWORD": str(path)}


def explain(said: str, way: Way) -> HostError:
    """Return the error for a connection that failed, from what ssh printed."""
    hop = _failed_at(said, way.hops)
    reason, step = failures.explain(said or "Connection closed", way.host)
    locked = _LOCKED.search(said)
    if "was refused" in reason and locked:
        reason = f"the SSH key {clean(locked['key'])} has a passphrase"
        step = "load it with ssh-add, then run this again"
    elif "was refused" in reason and hop is not None:
        step = advice(hop, way.hops[: way.hops.index(hop)])
    if way.hops and hop is way.hops[-1]:
        return HostError(reason, step)
    return HostError(f"jump host {hop.host}: {reason}" if hop else f"a jump host: {reason}", step)


def explain_shell(said: str, code: int) -> HostError:
    """Return the error for a login that ended before the command began."""
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "it printed nothing")
    return HostError(
        f"the login works, but its shell ended with exit code {code}: {one_line(last)}",
        "give the login user a shell that runs commands: see `ssh HOST true`",
    )


def _failed_at(said: str, hops: Sequence[Hop]) -> Hop | None:
    """Return the machine that could not be reached; None for one of several jump hosts."""
    denied, endpoint, unknown = _DENIED.search(said), failures.ENDPOINT.search(said), _UNKNOWN.search(said)
    for hop in hops[:-1]:
        if denied and (denied["user"], denied["host"]) == (hop.user, hop.host):
            return hop
        if endpoint and (endpoint["name"], endpoint["port"]) == (hop.host, str(hop.port)):
            return hop
        if unknown and unknown["name"] == hop.host:
            return hop
    # The ssh of the jump host ended because of a key, and then that of the host for want of a connection.
    if len(hops) == 1 or not (_KEY_REFUSED.search(said) and _BEFORE_HOST.search(said)):
        return hops[-1]
    return hops[0] if len(hops) == 2 else None


def advice(hop: Hop, before: Sequence[Hop]) -> str:
    """Return the next step after a refused login, with the command that puts a key on that machine."""
    words = ["ssh-copy-id"]
    public = next((path for key in hop.keys if (path := Path(f"{key}.pub")).is_file()), None)
    words += ["-i", str(public)] if public else []
    words += ["-p", str(hop.port)] if hop.port != SSH_PORT else []
    if before:
        words += ["-o", "ProxyJump=" + ",".join(map(_address, before))]
    elif hop.proxy_command:
        words += ["-o", f"ProxyCommand={hop.proxy_command}"]
    command = shlex.join([*words, f"{hop.user}@{hop.host}"])
    return f"{failures.CHECK_LOGIN}, or put a key there once: {command}"


def _address(hop: Hop) -> str:
    host = f"[{hop.host}]" if ":" in hop.host else hop.host
    return f"{hop.user}@{host}:{hop.port}"
