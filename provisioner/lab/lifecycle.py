# SPDX-License-Identifier: Apache-2.0
"""Bring a lab up, remove it, and report its state."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

from provisioner.errors import LabError
from provisioner.lab import controller, hosts, image, namespace, plans, snapshots, turns
from provisioner.lab.bringup import Bringup
from provisioner.lab.podman import LABEL, Machine, Podman, connect
from provisioner.lab.report import HostReport, LabReport, Say, Stopwatch, described
from provisioner.lab.spec import DEFAULT_LAB, HUB, container, from_inventory

# The names of locks: for the hosts of this machine's labs, and for what labs share.
HOSTS, CACHES = "hosts", "caches"


def up(
    inventory: Mapping[str, Mapping[str, Any]], *, say: Say, copies: Mapping[str, str] | None = None
) -> LabReport:
    """Bring a lab up from the variables of its hosts; reuse what exists, leave nothing half-made.

    A new host that `copies` lists starts with the files that another one, which exists, has now, or, if that
    is the host itself, with those that it had when `keep` was called.
    """
    spec = from_inventory(inventory)
    watch = Stopwatch(say)
    with turns.together(CACHES, say), ExitStack() as undo:
        if namespace.needed() and namespace.start_holder():
            say("made a private cgroup2 mount, which this machine lacks")
            undo.callback(namespace.stop_holder)
        bringup = Bringup(connect(), spec, watch, undo, copies or {})
        # Work that takes minutes the first time must not block other labs.
        with _hosts(say):
            bringup.check()
        models = bringup.ingredients()
        with _hosts(say):
            bringup.observe()
            hub, *others = bringup.machines(models)
        undo.pop_all()
    return LabReport(
        spec.name,
        tuple(others),
        hub,
        ssh_command(spec.name),
        tuple(watch.timings),
        tuple(str(outcome) for outcome in bringup.outcomes),
    )


def down(lab: str = DEFAULT_LAB, *, purge: bool = False, say: Say) -> None:
    """Remove a lab's containers and network; with `purge` also its keys, the cache, models and images."""
    with _purging(say) if purge else nullcontext(), _hosts(say):
        podman = connect(start=True)
        names = [machine.container for machine in podman.machines(lab)]
        if names:
            say(f"removing {len(names)} containers of lab {lab}")
            podman.remove(names)
            snapshots.remove(podman, lab)
        if podman.has("network", plans.network(lab)):
            podman.run("network", "rm", plans.network(lab))
        others = podman.machines()
        if purge:
            _purge(podman, lab, others_exist=bool(others), say=say)
        if not others:
            namespace.stop_holder()


def keep(host: str, *, lab: str = DEFAULT_LAB) -> None:
    """Keep a host's files as an image for `restore`; what only runs is not part of it."""
    podman = connect()
    machine = next((machine for machine in podman.machines(lab) if machine.host == host), None)
    if machine is None:
        raise LabError(f"there is no host {host} in lab {lab}", "start it: provision lab up")
    snapshots.take(podman, machine)


def restore(inventory: Mapping[str, Mapping[str, Any]], host: str, *, say: Say) -> LabReport:
    """Replace a host by a new one with the files that it had when `keep` was called."""
    podman, spec = connect(), from_inventory(inventory)
    snapshots.find(podman, spec.name, host)
    podman.remove([container(spec.name, host)])
    return up(inventory, say=say, copies={host: host})


def status(lab: str = DEFAULT_LAB) -> LabReport:
    """Report which hosts of a lab exist and their state."""
    podman = connect()
    machines = sorted(podman.machines(lab), key=lambda machine: machine.port)
    found = [_report(podman, machine) for machine in machines]
    hub = next((machine for machine in found if machine.name == HUB), None)
    return LabReport(lab, tuple(machine for machine in found if machine.name != HUB), hub, ssh_command(lab))


def ssh_command(lab: str) -> str:
    """Return how to log in to a lab's hosts; the port of a host goes at its end."""
    folder = controller.state_dir(lab)
    known = f"-o UserKnownHostsFile={folder / 'known_hosts'}"
    return f"ssh -i {folder / 'id_ed25519'} {known} {image.USER}@127.0.0.1 -p"


def _hosts(say: Say) -> AbstractContextManager[None]:
    """Let one command at a time change the hosts of this machine's labs."""
    return turns.alone(HOSTS, say, seconds=turns.HOSTS_SECONDS)


def _purging(say: Say) -> AbstractContextManager[None]:
    """Wait until no lab is being made that needs what is about to be removed."""
    return turns.alone(CACHES, say)


def _report(podman: Podman, machine: Machine) -> HostReport:
    systemd = hosts.systemd_state(podman, machine.container) if machine.state == "running" else ""
    image_name = described(machine.image, machine.origin)
    return HostReport(machine.host, machine.port, machine.state, systemd=systemd, image=image_name)


def _purge(podman: Podman, lab: str, *, others_exist: bool, say: Say) -> None:
    """Remove what outlives a lab; what labs share is removed with the last lab."""
    shutil.rmtree(controller.state_dir(lab), ignore_errors=True)
    if others_exist:
        say("keeping the package cache, the images and the hub's models: another lab uses them")
        return
    if podman.has("volume", plans.CACHE_VOLUME):
        podman.run("volume", "rm", plans.CACHE_VOLUME)
    images = podman.run("images", "--quiet", "--filter", f"label={LABEL}.recipe").text.split()
    if images:
        podman.run("rmi", "--force", *sorted(set(images)))
    shutil.rmtree(controller.cache_dir(), ignore_errors=True)
    say("removed keys, package cache, images and the hub's models")
