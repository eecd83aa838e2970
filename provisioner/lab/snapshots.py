# SPDX-License-Identifier: Apache-2.0
"""Keep what a host has become as an image, so that another host starts where it was."""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.lab.podman import Machine, Podman


@dataclass(frozen=True)
class Snapshot:
    """Refer to the image of a host as it was; a host is made of it as of a recipe."""

    tag: str
    digest: str
    origin: str


def take(podman: Podman, machine: Machine) -> Snapshot:
    """Keep a host's files as an image; what it has mounted, and what only runs, is not part of it."""
    # No pause: that takes a freezer, which the private mount of small machines lacks.
    podman.run("commit", "--quiet", "--pause=false", machine.container, _tag(machine.lab, machine.host))
    return find(podman, machine.lab, machine.host)


def find(podman: Podman, lab: str, host: str) -> Snapshot:
    """Return what was kept of a host last."""
    tag = _tag(lab, host)
    found = podman.run("image", "inspect", "--format={{.Id}}", tag, next_step="keep the host first").text
    return Snapshot(tag, found.removeprefix("sha256:")[:12], f"a copy of {host}")


def remove(podman: Podman, lab: str) -> None:
    """Remove the images of a lab's hosts."""
    found = podman.run("images", "--quiet", "--filter", f"reference={_tag(lab, '*')}").text.split()
    if found:
        # Without --force, which would remove the hosts that were made of them too.
        podman.run("rmi", *sorted(set(found)), check=False)


def _tag(lab: str, host: str) -> str:
    # A dot is in no name, so a pattern for one lab matches none of another's.
    return f"localhost/provision-lab/snapshot-{lab}.{host}:latest"
