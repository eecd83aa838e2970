# SPDX-License-Identifier: Apache-2.0
"""Find out from Ansible and ssh how each host of an inventory is reached; no host is contacted."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioner.fleet import services, variables
from provisioner.fleet.engines import load as load_engines
from provisioner.fleet.services import Service
from provisioner.plain import one_line
from provisioner.runs import run
from provisioner.runs.run import Request

ACTION = "provision_reach"


@dataclass(frozen=True)
class Hop:
    """Describe one machine on the way to a host, the host itself being the last."""

    host: str
    port: int
    user: str
    keys: tuple[Path, ...]
    proxy_command: str | None = None


@dataclass(frozen=True)
class Way:
    """How a host is reached and what it serves; `trouble` says why no connection can be tried.

    `ssh` is the command with which Ansible connects to `address`; `hops` say what ssh makes of it.
    `prompt` is part of the text with which the host asks for the password.
    """

    host: str
    ssh: tuple[str, ...] = ()
    address: str = ""
    hops: tuple[Hop, ...] = ()
    services: tuple[Service, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    password: str | None = field(default=None, repr=False)
    prompt: str = "assword"
    become_exe: str = "sudo"
    become_password: str | None = field(default=None, repr=False)
    trouble: str | None = None

    @property
    def model_folders(self) -> tuple[str, ...]:
        """Return the folders with the models of its services, without those that an engine keeps itself."""
        places = {one.model.directory for one in self.services if one.model.directory}
        return tuple(sorted({str(Path(place).parent) for place in places}))


def load(request: Request, hosts: Sequence[str]) -> tuple[Way, ...]:
    """Return the way to each of `hosts`, in their order."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    folder = base if base and Path(base).is_dir() else None
    with tempfile.TemporaryDirectory(prefix="provision-", dir=folder) as private:
        output = run.local(ACTION, request, {"PROVISION_REACH": private})
        return tuple(_way(host, Path(private), output) for host in hosts)


def _way(host: str, folder: Path, output: str) -> Way:
    path = folder / hashlib.sha256(host.encode()).hexdigest()
    if not path.exists():
        return Way(host, trouble=_reason(host, output))
    document = json.loads(path.read_text())
    kind = document["connection"]
    if kind != "ssh":
        return Way(host, trouble=f"its connection is {kind}, but this command supports ssh only")
    given = document["variables"]
    defaults = {name: variables.defaults(engine.role) for name, engine in load_engines().items()}
    return Way(
        host,
        ssh=tuple(document["ssh"]),
        address=document["address"],
        hops=tuple(_hop(entry) for entry in document["hops"]),
        services=services.resolve(given, defaults).services,
        variables=given,
        password=document["password"],
        prompt=document["prompt"],
        become_exe=document["become_exe"],
        become_password=document["become_password"],
    )


def _reason(host: str, output: str) -> str:
    """Return why Ansible could not resolve the host, from what it printed."""
    found = re.search(rf"^{re.escape(host)} \| [^\n]*=> (\{{.*?^\}})", output, re.MULTILINE | re.DOTALL)
    if found:
        return one_line(json.loads(found[1]).get("msg", "no reason given"), 300).removeprefix("Task failed: ")
    errors = [line for line in output.splitlines() if "ERROR" in line or "rror:" in line]
    return one_line(" ".join(errors) or output or "Ansible gave no reason", 300)


def _hop(entry: Mapping[str, list[str]]) -> Hop:
    def last(key: str, default: str = "") -> str:
        return entry.get(key, [default])[0]

    host, user, port = last("hostname"), last("user"), int(last("port", "22"))
    tokens = {"h": host, "p": str(port), "r": user, "n": last("original"), "d": str(Path.home()), "%": "%"}
    tokens["u"] = os.environ.get("USER", "")
    proxy = last("proxycommand", "none")
    return Hop(
        host=host,
        port=port,
        user=user,
        keys=tuple(_path(text, tokens) for text in entry.get("identityfile", [])),
        proxy_command=None if proxy == "none" else _expand(proxy, tokens),
    )


def _path(text: str, tokens: Mapping[str, str]) -> Path:
    return Path(_expand(text, tokens)).expanduser()


def _expand(text: str, tokens: Mapping[str, str]) -> str:
    return re.sub(r"%(.)", lambda match: tokens.get(match[1], match[0]), text)
