# SPDX-License-Identifier: Apache-2.0
"""The systems that a lab host can have, and how each is made: Debian, simulated on Debian, or pulled."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from provisioner.lab import controller, image
from provisioner.lab.image import MASKED, PACKAGES, SUITES, USER, Recipe
from provisioner.lab.layers import Layer

FOLDER = Path(__file__).with_name("dress")
# What a simulated host has beside a bare one: its own archive, which would have these, is missing.
TOOLS = (
    "gcc",
    "initramfs-tools",
    "kmod",
    "libc6-dev",
    "make",
    "mokutil",
    "openssl",
    "patch",
    "pciutils",
    "python3",
    "xz-utils",
    "zstd",
)
ROCKY_TOOLS = (
    "chrony",
    "cpio",
    "dnf",
    "dnf-plugins-core",
    "dracut-core",
    "g++",
    "libnuma1",
    "python3-dev",
    "python3-venv",
    "rpm",
)
# Rocky's names of what every lab host has, for an image that has an archive.
ROCKY_PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute",
    "openssh-server",
    "procps-ng",
    "sudo",
    "systemd",
    "tzdata",
)
ROCKY_MASKED = ("dnf-makecache.timer", "systemd-networkd-wait-online.service")


@dataclass(frozen=True)
class Platform:
    """A system: its family, its title, and its name in a registry."""

    family: str
    title: str
    reference: str


PLATFORMS = {
    "debian12": Platform("debian", "Debian 12", "debian:12"),
    "debian13": Platform("debian", "Debian 13", "debian:13"),
    "ubuntu2204": Platform("ubuntu", "Ubuntu 22.04", "ubuntu:22.04"),
    "ubuntu2404": Platform("ubuntu", "Ubuntu 24.04", "ubuntu:24.04"),
    "ubuntu2604": Platform("ubuntu", "Ubuntu 26.04", "ubuntu:26.04"),
    "rocky8": Platform("rocky", "Rocky 8", "rockylinux:8"),
    "rocky9": Platform("rocky", "Rocky 9", "rockylinux:9"),
    "rocky10": Platform("rocky", "Rocky 10", "rockylinux:10"),
}
# Its programs ask for a password in another form.
WITH_SUDO_RS = ("ubuntu2604",)
IMAGES = tuple(dict.fromkeys([*SUITES, *PLATFORMS]))


def wanted(name: str) -> Recipe | Layer:
    """Return the recipe of a host's image as this machine makes it."""
    registry = controller.registry()
    if registry and name in PLATFORMS:
        return pulled(name, registry)
    return image.recipe(name) if name in SUITES else dressed(name)


def dressed(name: str) -> Layer:
    """Return the recipe of a Debian that looks like another system, and reports that it is not."""
    platform = PLATFORMS[name]
    origin = f"dressed Debian, a stand-in for {platform.title}"
    rocky = platform.family == "rocky"
    scripts = ("rocky.sh", "rocky-release.spec", "platform-python") if rocky else ("ubuntu.sh",)
    return Layer(
        name=name,
        base=rocky_base() if rocky else with_sudo_rs() if name in WITH_SUDO_RS else tools(),
        command=_command(scripts[0], origin),
        files={**_files(*scripts), "os-release": (FOLDER / "os-release" / name).read_bytes()},
        origin=origin,
    )


def with_packages(base: Recipe | Layer, suffix: str, *packages: str, finish: str = "true\n") -> Layer:
    """Return the recipe of a Debian with more packages; `finish` is a script that still has apt's lists."""
    return Layer(
        name=f"{base.name}-{suffix}",
        base=base,
        command=_command("packages.sh", *packages),
        files={**_files("packages.sh"), "finish.sh": finish.encode()},
        origin="Debian from this machine's mirror",
    )


def tools() -> Layer:
    """Return the recipe of the Debian below all simulated hosts."""
    headers = (FOLDER / "headers.sh").read_text()
    return with_packages(image.recipe("debian13"), "tools", *TOOLS, finish=headers)


def with_sudo_rs() -> Layer:
    """Return the recipe of the Debian below the simulated hosts whose sudo is sudo-rs."""
    return with_packages(tools(), "sudo-rs", "sudo-rs", finish=(FOLDER / "sudo-rs.sh").read_text())


def rocky_base() -> Layer:
    """Return the recipe of what all simulated Rocky hosts share."""
    return Layer(
        name="rocky-base",
        base=tools(),
        command=_command("rocky-base.sh", *ROCKY_TOOLS),
        files=_files("rocky-base.sh", "update-ca-trust"),
        origin="Debian with dnf",
    )


def pulled(name: str, registry: str) -> Layer:
    """Return the recipe of a host with the real system, from a registry's image."""
    platform = PLATFORMS[name]
    reference = f"{registry}/{platform.reference}"
    rocky = platform.family == "rocky"
    script = "pulled-dnf.sh" if rocky else "pulled-apt.sh"
    packages, masked = (ROCKY_PACKAGES, ROCKY_MASKED) if rocky else (PACKAGES, MASKED)
    settings = {
        "sudoers-lab": image.SUDOERS,
        "apt.conf": _lines([image.ANY_DATE, *controller.apt_options()]),
        # The mirror of this machine has Debian only.
        "sources.list": _lines(controller.mirror().lines(SUITES[name]) if name in SUITES else ()),
    }
    certificates = {f"lab-{file}": content for file, content in controller.certificates().items()}
    return Layer(
        name=name,
        base=reference,
        command=_command(script, USER, " ".join(masked), *packages),
        files={
            **_files(script, "pulled.sh"),
            **{file: text.encode() for file, text in settings.items()},
            **certificates,
        },
        origin=f"{platform.title} of {reference}",
    )


def _command(script: str, *words: str) -> str:
    return shlex.join(("sh", f"./{script}", *words))


def _files(*names: str) -> dict[str, bytes]:
    return {name: (FOLDER / name).read_bytes() for name in names}


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
