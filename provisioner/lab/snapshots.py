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
    tag = f"localhost/provision-lab/snapshot-{machine.lab}-{machine.host}"
    # No pause: that takes a freezer, which the private mount of small machines lacks.
    made = podman.run("commit", "--quiet", "--pause=false", machine.container, tag).text
    digest = made.splitlines()[-1].removeprefix("sha256:")[:12]
    return Snapshot(f"{tag}:latest", digest, f"a copy of {machine.host}")


def remove(podman: Podman, lab: str) -> None:
    """Remove the images of a lab's hosts."""
    pattern = f"localhost/provision-lab/snapshot-{lab}-*"
    found = podman.run("images", "--quiet", "--filter", f"reference={pattern}").text.split()
    if found:
        podman.run("rmi", "--force", *sorted(set(found)), check=False)
