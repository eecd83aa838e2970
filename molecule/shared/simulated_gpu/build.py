# SPDX-License-Identifier: Apache-2.0
"""Have the simulated repositories: built in a container once for each state of these sources, then cached.

The hub of every lab serves them at http://hub.lab:8000/releases/vendor/. Run this file to build them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from provisioner.lab import controller, image, releases
from provisioner.lab.image import Recipe
from provisioner.lab.podman import Podman, connect

SOURCES = Path(__file__).parent
# What a build is made of; the rest of this folder goes into hosts.
BUILT_FROM = ("source", "tables", "vendor")
PACKAGES = (
    "apt-utils",
    "ca-certificates",
    "createrepo-c",
    "dkms",
    "dpkg-dev",
    "gcc",
    "gnupg",
    "libc6-dev",
    "linux-headers-amd64",
    "make",
    "openssl",
    "python3",
    "python3-yaml",
    "rpm",
)
# Measured on two idle processors: 40 seconds, and 80 more for the image.
LONGEST_SECONDS = 900
DIGEST = ".digest"
# What a build leaves for the next, so that hosts that are there go on trusting the repositories.
KEYS = ("keys.json", "signing.asc", "distribution.pem", "distribution.der")
MODULE = "simulated_gpu.vendor.main"


def recipe() -> Recipe:
    """Return the recipe of the image in which the packages are built."""
    return image.recipe("debian13", packages=PACKAGES, suffix="-vendor")


def vendor() -> Path:
    """Return the folder that holds the repositories."""
    return releases.folder() / "vendor"


def digest() -> str:
    """Return what changes with anything that a build is made from."""
    found = hashlib.sha256(recipe().digest.encode())
    for part in BUILT_FROM:
        for path in sorted((SOURCES / part).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                found.update(f"{path.relative_to(SOURCES)}\0".encode() + path.read_bytes())
    return found.hexdigest()


def ensure(podman: Podman) -> Path:
    """Return the folder of repositories that are made from these very sources."""
    target, wanted = vendor(), digest()
    with _alone(target):
        if not (target / DIGEST).is_file() or (target / DIGEST).read_text() != wanted:
            _build(podman, target, wanted)
    return target


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(podman: Podman, target: Path, wanted: str) -> None:
    with tempfile.TemporaryDirectory(prefix=".vendor-", dir=target.parent) as folder:
        made = Path(folder, "vendor")
        made.mkdir(mode=0o755)
        for name in KEYS:
            if (target / name).exists():
                shutil.copyfile(target / name, made / name)
        in_container(podman, MODULE, "/out", out=made)
        (made / DIGEST).write_text(wanted)
        if target.exists():
            target.rename(Path(folder, "old"))
        made.rename(target)


def in_container(podman: Podman, module: str, *words: str, out: Path) -> None:
    """Run one of the programs here in the builder, which sees the folder `out` as /out."""
    image_recipe = recipe()
    if not podman.has("image", image_recipe.tag):
        image.build(podman, image_recipe)
    name = f"provision-lab-vendor-{hashlib.sha256(str(out).encode()).hexdigest()[:12]}"
    try:
        podman.run(
            "run",
            "--rm",
            f"--name={name}",
            "--network=none",
            "--pids-limit=0",
            "--security-opt=label=disable",
            "--security-opt=apparmor=unconfined",
            *(f"--ulimit={key}={value}:{value}" for key, value in controller.ulimits().items()),
            "--env=PYTHONPATH=/source",
            "--env=PYTHONDONTWRITEBYTECODE=1",
            f"--volume={SOURCES}:/source/{SOURCES.name}:ro",
            f"--volume={out}:/out",
            image_recipe.tag,
            "python3",
            "-m",
            module,
            *words,
            seconds=LONGEST_SECONDS,
        )
    finally:
        # An interrupt ends podman's command, but not what runs in the container.
        podman.remove([name])


def copy(name: str, podman: Podman) -> Path:
    """Return a copy of the repositories that a test may change, served at releases/vendor-<name>/."""
    source = ensure(podman)
    target = source.with_name(f"vendor-{name}")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


if __name__ == "__main__":
    sys.stdout.write(f"{ensure(connect(start=True))}\n")
