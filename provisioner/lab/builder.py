# SPDX-License-Identifier: Apache-2.0
"""Build Ollama's release archive from its sources, in a container of the same suite as the hosts."""

from __future__ import annotations

from pathlib import Path

from provisioner.lab import controller, image, layers, platforms, turns
from provisioner.lab.layers import Layer
from provisioner.lab.podman import Podman

PACKAGES = (
    "g++",
    "gcc",
    "golang-go",
    "libc6-dev",
    "libstb-dev",
    "llama.cpp-tools",
    "nlohmann-json3-dev",
    "patchelf",
    "zstd",
)
SCRIPT = Path(__file__).with_name("ollama-build.sh")
CONTAINER = "provision-lab-builder"
# Measured on two idle processors: two minutes for 0.33, three for 0.17, with nothing cached.
LONGEST_SECONDS = 1800
# The image, and what Go keeps of modules and of what it compiled.
NEEDED_BYTES = 3 * 1024**3


def builder_recipe() -> Layer:
    """Return the recipe of the image in which Ollama is built."""
    return platforms.with_packages(image.recipe("debian-unstable"), "builder", *PACKAGES)


def build(podman: Podman, version: str, target: Path) -> None:
    """Write the archive of one version of Ollama to `target`."""
    wanted = builder_recipe()
    layers.build(podman, wanted, turns.silent)
    podman.remove([CONTAINER])
    try:
        podman.run(*run_argv(wanted.tag, version, target), seconds=LONGEST_SECONDS)
    finally:
        # An interrupt ends podman's command, but not what runs in the container.
        podman.remove([CONTAINER])


def run_argv(tag: str, version: str, target: Path) -> list[str]:
    """Return podman's arguments for one build; what Go downloads and compiles is kept for the next."""
    cache = controller.cache_dir() / "go"
    cache.mkdir(parents=True, exist_ok=True)
    # Writable modules, because a cache that cannot be deleted is a nuisance.
    settings = {
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-modcacherw",
        "GOMODCACHE": "/go/modules",
        "GOCACHE": "/go/compiled",
        **controller.go_settings(),
    }
    return [
        "run",
        f"--name={CONTAINER}",
        "--network=host",
        "--pids-limit=0",
        "--security-opt=label=disable",
        "--security-opt=apparmor=unconfined",
        *(f"--ulimit={name}={value}:{value}" for name, value in controller.ulimits().items()),
        *(f"--env={name}={value}" for name, value in settings.items()),
        f"--volume={cache}:/go",
        f"--volume={target.parent}:/archive",
        f"--volume={SCRIPT}:/build.sh:ro",
        tag,
        "sh",
        "/build.sh",
        version,
        f"/archive/{target.name}",
    ]
