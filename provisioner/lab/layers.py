# SPDX-License-Identifier: Apache-2.0
"""Build an image on top of another one, with a Containerfile: simulated systems, and images of a registry."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from provisioner.lab import image, turns
from provisioner.lab.image import Recipe
from provisioner.lab.podman import LABEL, Podman
from provisioner.lab.report import Say

FOLDER = "/tmp/provision-lab"  # noqa: S108 - in an image that is being built, where there is no other user


@dataclass(frozen=True)
class Layer:
    """What is added to which image: files, and a command that is run in their folder."""

    name: str
    base: Recipe | Layer | str
    command: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    origin: str = ""

    @property
    def source(self) -> str:
        """Return the name of the image below."""
        return self.base if isinstance(self.base, str) else self.base.tag

    @property
    def containerfile(self) -> str:
        """Return the Containerfile, which is all of the recipe but the files."""
        return (
            f"FROM {self.source}\n"
            f"COPY . {FOLDER}/\n"
            f"RUN cd {FOLDER} && {self.command} && rm -rf {FOLDER}\n"
            'CMD ["/sbin/init"]\n'
        )

    @property
    def digest(self) -> str:
        """Return twelve characters that change with anything in the recipe or in what it builds on."""
        files = {name: content.hex() for name, content in self.files.items()}
        content = json.dumps([self.name, self.containerfile, files, self.origin], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    @property
    def tag(self) -> str:
        """Return the image's name in podman's storage."""
        return f"localhost/provision-lab/{self.name}:{self.digest}"

    @property
    def next_step(self) -> str:
        """Return what to look at when it cannot be built."""
        if isinstance(self.base, str):
            return f"check that this machine reaches {self.base} and the packages of that system"
        return "check that this machine reaches its package mirror"

    @property
    def made_of(self) -> str:
        """Return what it is made of, for messages."""
        return self.origin


def build(podman: Podman, wanted: Recipe | Layer, say: Say) -> None:
    """Build an image and those below it, each once, however many callers and commands need it."""
    with turns.alone(f"image-{wanted.digest}", say):
        if podman.has("image", wanted.tag):
            return
        if isinstance(wanted, Recipe):
            image.build(podman, wanted)
            return
        if not isinstance(wanted.base, str):
            build(podman, wanted.base, say)
        with tempfile.TemporaryDirectory(prefix="provision-lab-") as folder:
            work = Path(folder)
            (work / "Containerfile").write_text(wanted.containerfile)
            (work / "files").mkdir()
            for name, content in wanted.files.items():
                (work / "files" / name).write_bytes(content)
            podman.run(*build_argv(wanted, work), next_step=wanted.next_step)


def build_argv(wanted: Layer, work: Path) -> list[str]:
    """Return podman's arguments for one layer; a missing image is pulled."""
    return [
        "build",
        "--quiet",
        f"--file={work / 'Containerfile'}",
        f"--tag={wanted.tag}",
        f"--label={LABEL}.recipe={wanted.digest}",
        # One layer with what is left in the end, and no container of its own around the commands.
        "--layers=false",
        "--isolation=chroot",
        "--network=host",
        str(work / "files"),
    ]
