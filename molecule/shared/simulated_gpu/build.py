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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import yaml

from provisioner.lab import controller, layers, platforms, releases, turns
from provisioner.lab.layers import Layer
from provisioner.lab.podman import Podman, connect

SOURCES = Path(__file__).parent
# What a build is made of; the rest of this folder goes into hosts.
BUILT_FROM = ("source", "tables", "vendor")
PACKAGES = (
    "apt-utils",
    "createrepo-c",
    "dkms",
    "dpkg-dev",
    "gnupg",
    "python3-yaml",
    "rpm",
)
# Measured on two idle processors: 40 seconds, and 80 more for the image.
LONGEST_SECONDS = 900
DIGEST = ".digest"
# One of each kind, which the tests of every run use: apt, dnf with module streams, dnf without.
USUAL = ("rocky10", "rocky9", "ubuntu2404")
# What a build leaves for the next, so that hosts that are there go on trusting the repositories.
KEYS = ("keys.json", "signing.asc", "distribution.pem", "distribution.der")
MODULE = "simulated_gpu.vendor.main"


def recipe() -> Layer:
    """Return the recipe of the image in which the packages are built: with the compiler and the headers."""
    return platforms.with_packages(platforms.tools(), "vendor", *PACKAGES)


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


def every_platform() -> tuple[str, ...]:
    """Return the platforms that there are simulated kernels for."""
    kinds = yaml.safe_load((SOURCES / "tables/kernels.yml").read_text()).values()
    return tuple(sorted(platform for kind in kinds for platform in kind))


def ensure(podman: Podman, platforms: Iterable[str] = ()) -> Path:
    """Return the folder of repositories made from these very sources, for some platforms at least."""
    target, wanted, asked = vendor(), digest(), set(platforms)
    with _alone(target):
        stamp = (target / DIGEST).read_text().split() if (target / DIGEST).is_file() else [""]
        if stamp[0] != wanted or not asked <= set(stamp[1:]):
            _build(podman, target, wanted, USUAL if asked and asked <= set(USUAL) else every_platform())
    return target


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(podman: Podman, target: Path, wanted: str, platforms: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(prefix=".vendor-", dir=target.parent) as folder:
        made = Path(folder, "vendor")
        made.mkdir(mode=0o755)
        for name in KEYS:
            if (target / name).exists():
                shutil.copyfile(target / name, made / name)
        in_container(podman, MODULE, "/out", *platforms, out=made)
        (made / DIGEST).write_text(" ".join((wanted, *platforms)))
        if target.exists():
            target.rename(Path(folder, "old"))
        made.rename(target)


def in_container(podman: Podman, module: str, *words: str, out: Path) -> None:
    """Run one of the programs here in the builder, which sees the folder `out` as /out."""
    image_recipe = recipe()
    layers.build(podman, image_recipe, turns.silent)
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
