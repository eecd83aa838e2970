# SPDX-License-Identifier: Apache-2.0
"""Call podman: the only module that knows how to call it on this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provisioner.lab import namespace, process

LABEL = "provision.lab"


@dataclass(frozen=True)
class Machine:
    """Describe a container of a lab as its labels and podman do."""

    container: str
    lab: str
    host: str
    port: int
    address: str
    image: str
    recipe: str
    state: str
    origin: str = ""


def machine(record: Mapping[str, Any]) -> Machine:
    """Read one record of `podman ps --format json`."""
    labels = record["Labels"]
    return Machine(
        container=record["Names"][0],
        lab=labels[LABEL],
        host=labels[f"{LABEL}.host"],
        port=int(labels[f"{LABEL}.port"]),
        address=labels[f"{LABEL}.address"],
        image=record["Image"],
        recipe=labels[f"{LABEL}.recipe"],
        state=record["State"],
        origin=labels.get(f"{LABEL}.origin", ""),
    )


@dataclass(frozen=True)
class Podman:
    """Call podman, inside the private namespace where the machine needs it."""

    prefix: tuple[str, ...] = ()

    def argv(self, *words: str) -> list[str]:
        """Return the full command line of a podman call."""
        # crun and the systemd cgroup manager cannot work there; elsewhere podman knows best.
        options = ("--cgroup-manager=cgroupfs", "--runtime=runc") if self.prefix else ()
        return [*self.prefix, "podman", *options, *words]

    def run(
        self,
        *words: str,
        stdin: bytes | None = None,
        check: bool = True,
        seconds: float | None = None,
        next_step: str | None = None,
    ) -> process.Result:
        """Run one podman command."""
        return process.run(self.argv(*words), stdin=stdin, check=check, seconds=seconds, next_step=next_step)

    def json(self, *words: str) -> Any:
        """Run one podman command that answers in JSON."""
        return json.loads(self.run(*words).stdout or b"null")

    def has(self, kind: str, name: str) -> bool:
        """Return whether an image, a container, a network or a volume of this name exists."""
        return self.run(kind, "exists", name, check=False).code == 0

    def machines(self, lab: str | None = None) -> list[Machine]:
        """Return the containers of a lab, or of all labs."""
        wanted = LABEL if lab is None else f"{LABEL}={lab}"
        listed = self.json("ps", "--all", "--filter", f"label={wanted}", "--format", "json")
        return [machine(record) for record in listed or []]

    def store(self) -> str:
        """Return the folder in which podman keeps containers."""
        return self.run("info", "--format", "{{.Store.GraphRoot}}").text

    def remove(self, names: Sequence[str]) -> None:
        """Remove containers with their contents, running or not; an unknown name is not an error."""
        if names:
            # Two calls, because `rm` of older versions does not support a time limit.
            self.run("stop", "--time=2", "--ignore", *names, check=False)
            self.run("rm", "--force", "--volumes", "--ignore", *names)


def connect(*, start: bool = False) -> Podman:
    """Return podman for this machine; `start` makes the private namespace where one is needed."""
    if start and namespace.needed():
        namespace.start_holder()
    return Podman(namespace.prefix())
