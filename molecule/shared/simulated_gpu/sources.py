# SPDX-License-Identifier: Apache-2.0
"""Name the simulated repositories of the distribution to a host, as its installation would have done."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.lab import HUB_URL, SeedFile, copy_in
from provisioner.lab.podman import connect
from provisioner.lab.spec import DEFAULT_LAB
from simulated_gpu import build
from simulated_gpu.install import platform

# CodeReady Builder is there and switched off, as on a new Rocky host.
REPOSITORIES = {"BaseOS": 1, "AppStream": 1, "crb": 0, "epel": 1}


def name_distribution(host: str, *, lab: str = DEFAULT_LAB, vendor: str = "vendor") -> None:
    """Have a host take packages of its distribution from the hub's folder `vendor`."""
    found = platform(host, lab)
    folder = build.ensure(connect()).with_name(vendor) / "distribution" / found
    if folder.is_dir():
        key = (folder / "distribution.pub").read_bytes()
        copy_in(host, list(_files(found, f"{HUB_URL}/releases/{vendor}/distribution/{found}", key)), lab=lab)


def _files(found: str, url: str, key: bytes) -> Iterator[SeedFile]:
    if not found.startswith("rocky"):
        keyring = "/usr/share/keyrings/distribution-stand-in.asc"
        text = f"Types: deb\nURIs: {url}\nSuites: /\nSigned-By: {keyring}\n"
        yield SeedFile(keyring, key)
        yield SeedFile("/etc/apt/sources.list.d/distribution-stand-in.sources", text.encode())
        return
    keyring = f"/etc/pki/rpm-gpg/RPM-GPG-KEY-Rocky-{found.removeprefix('rocky')}"
    sections = (
        f"[{name.lower()}]\nname=Rocky Linux - {name} (stand-in)\nbaseurl={url}/{name}/\nenabled={enabled}\n"
        f"gpgcheck=1\ngpgkey=file://{keyring}\n"
        for name, enabled in REPOSITORIES.items()
    )
    yield SeedFile(keyring, key)
    yield SeedFile("/etc/yum.repos.d/rocky-stand-in.repo", "\n".join(sections).encode())
