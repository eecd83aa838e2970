# SPDX-License-Identifier: Apache-2.0
"""Lay out a lab's containers: addresses, mounts, and the files that each one starts with."""

from __future__ import annotations

import hashlib
import ipaddress
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from provisioner.lab import controller, image, keys, platforms
from provisioner.lab.hosts import HostPlan, SeedFile
from provisioner.lab.image import USER, Recipe
from provisioner.lab.layers import Layer
from provisioner.lab.snapshots import Snapshot
from provisioner.lab.spec import HUB, HUB_NAME, HUB_PORT, HostSpec, LabSpec

# One cache of downloaded packages for every lab of this machine, so that each wheel is fetched once.
CACHE_VOLUME = "provision-lab-cache"
CACHE_MOUNT = "/var/cache/provision"
HUB_PROGRAMS = sorted(Path(__file__).parent.glob("hub*.py"))
HUB_FOLDER = "/usr/local/lib/provision-hub"
HUB_MODELS, HUB_RELEASES = "/srv/models", "/srv/releases"
HUB_FOLDERS = f"--root {HUB_MODELS} --releases {HUB_RELEASES}"
HUB_UNIT = f"""\
[Unit]
Description=Model hub of the lab
After=network.target

[Service]
ExecStart=/usr/bin/python3 {HUB_FOLDER}/hub.py {HUB_FOLDERS} --host 0.0.0.0 --port {HUB_PORT}
Restart=always

[Install]
WantedBy=multi-user.target
"""
# The gateway takes the first address; the hub's comes next, hosts follow.
HUB_OFFSET = 2


def network(lab: str) -> str:
    """Return the name of a lab's network."""
    return f"provision-lab-{lab}"


def repair_network_file(path: Path) -> None:
    """Let the network plugins of Ubuntu 22.04 read the file that its podman writes for them."""
    path.write_text(path.read_text().replace('"cniVersion": "1.0.0"', '"cniVersion": "0.4.0"'))


def hub_recipe() -> Layer:
    """Return the recipe of the hub's image: a lab host with Python and without a running sshd."""
    no_sshd = "systemctl --quiet mask ssh.service ssh.socket\n"
    return platforms.with_packages(image.recipe("debian13"), "hub", "python3", finish=no_sshd)


def hub_plan(
    spec: LabSpec, recipe_of_hub: Recipe | Layer, subnet: ipaddress.IPv4Network, models: Path, releases: Path
) -> HostPlan:
    """Lay out the hub; its recipe contains its mounts too, as it keeps no data and can be replaced."""
    mounts = (f"{models}:{HUB_MODELS}:ro", f"{releases}:{HUB_RELEASES}:ro")
    digest = hashlib.sha256("\n".join((recipe_of_hub.digest, *mounts)).encode()).hexdigest()[:12]
    return HostPlan(
        lab=spec.name,
        name=HUB,
        image=recipe_of_hub.tag,
        recipe=digest,
        network=network(spec.name),
        address=str(subnet[HUB_OFFSET]),
        publish=(spec.hub_port, HUB_PORT),
        mounts=mounts,
    )


def host_plan(lab: str, host: HostSpec, wanted: Recipe | Layer | Snapshot, address: str) -> HostPlan:
    """Lay out a host of an inventory."""
    wheels = (f"{folder}:{folder}:ro" for folder in controller.wheel_folders())
    return HostPlan(
        lab=lab,
        name=host.name,
        image=wanted.tag,
        recipe=wanted.digest,
        network=network(lab),
        address=address,
        publish=(host.port, 22),
        mounts=(f"{CACHE_VOLUME}:{CACHE_MOUNT}", *wheels),
        origin=wanted.origin,
    )


def free_addresses(subnet: ipaddress.IPv4Network, taken: Iterable[str]) -> list[str]:
    """Return the addresses for new hosts, in order."""
    used = {*taken, str(subnet[HUB_OFFSET])}
    return [str(address) for address in list(subnet.hosts())[HUB_OFFSET:] if str(address) not in used]


def host_files(plan: HostPlan, names: Mapping[str, str]) -> list[SeedFile]:
    """Return what a new host starts with: its key, who may log in, and the names of the lab."""
    key = keys.host_key(plan.lab, plan.name)
    authorized = keys.public_half(keys.client_key(plan.lab))
    return [
        hosts_file(plan.name, names),
        machine_id(),
        SeedFile("/etc/ssh/ssh_host_ed25519_key", key.read_bytes(), 0o600),
        SeedFile("/etc/ssh/ssh_host_ed25519_key.pub", keys.public_half(key).encode()),
        SeedFile(f"/home/{USER}/.ssh/authorized_keys", authorized.encode(), 0o600),
    ]


def hub_files(names: Mapping[str, str]) -> list[SeedFile]:
    """Return what the hub starts with: its program and the unit that runs it."""
    return [
        hosts_file(HUB, names),
        machine_id(),
        *(SeedFile(f"{HUB_FOLDER}/{program.name}", program.read_bytes()) for program in HUB_PROGRAMS),
        SeedFile("/etc/systemd/system/provision-hub.service", HUB_UNIT.encode()),
    ]


def hosts_file(host: str, names: Mapping[str, str]) -> SeedFile:
    """Return /etc/hosts for one machine: itself, then the others by name."""
    lines = ["127.0.0.1 localhost", f"{names[host]} {host}"]
    lines += [f"{address} {_public_name(name)}" for name, address in names.items() if name != host]
    return SeedFile("/etc/hosts", "".join(f"{line}\n" for line in lines).encode())


def machine_id() -> SeedFile:
    """Return a new machine's identity; without one systemd would take the start for a first boot."""
    return SeedFile("/etc/machine-id", f"{uuid.uuid4().hex}\n".encode(), 0o444)


def _public_name(name: str) -> str:
    return HUB_NAME if name == HUB else name
