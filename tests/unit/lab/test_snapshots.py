# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import fnmatch
import ipaddress
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from provisioner.lab import snapshots
from provisioner.lab.bringup import Bringup
from provisioner.lab.podman import Machine, Podman
from provisioner.lab.process import Result
from provisioner.lab.report import Stopwatch
from provisioner.lab.snapshots import Snapshot
from provisioner.lab.spec import HostSpec, LabSpec, container

IMAGE = "sha256:0123456789abcdef"
ONE = Machine("provision-lab-mine.one", "mine", "one", 2301, "10.89.0.3", "debian13", "r", "running")
SPEC = LabSpec("mine", (HostSpec("one", 2301), HostSpec("two", 2302)))
SUBNET = ipaddress.IPv4Network("10.89.0.0/24")


@dataclass(frozen=True)
class Recorder(Podman):
    """Answer a commit with an image's name, and write down each call."""

    calls: list[tuple[str, ...]] = field(default_factory=list)

    def run(self, *words: str, **_: Any) -> Result:
        self.calls.append(words)
        return Result(words, 0, f"{IMAGE}\n".encode(), b"")


def test_a_host_as_it_is_becomes_an_image() -> None:
    podman = Recorder()
    taken = snapshots.take(podman, ONE)
    assert taken == Snapshot("localhost/provision-lab/snapshot-mine.one:latest", IMAGE[7:19], "a copy of one")
    call, _ = podman.calls
    assert call[0] == "commit"
    assert call[-2:] == (ONE.container, taken.tag)


@pytest.mark.parametrize(
    ("copies", "existing", "copied"),
    [
        ({"two": "one"}, {"one": ONE}, True),
        ({"two": "one"}, {}, False),
        ({"two": "one"}, {"one": ONE, "two": ONE}, False),
        ({}, {"one": ONE}, False),
        ({"two": "two"}, {"one": ONE}, True),
        ({"two": "two"}, {"two": ONE}, False),
    ],
)
def test_only_a_new_host_starts_as_another_one_is_or_it_itself_was(
    copies: dict[str, str], existing: dict[str, Machine], copied: bool
) -> None:
    podman = Recorder()
    bringup = Bringup(podman, SPEC, Stopwatch(print), ExitStack(), copies, existing)
    made_of = bringup._made_of(SPEC.hosts[1])
    assert isinstance(made_of, Snapshot) == copied
    assert bool(podman.calls) == copied


def test_the_images_of_a_lab_go_with_it() -> None:
    podman = Recorder()
    snapshots.remove(podman, "mine")
    listed, removed = podman.calls
    assert "reference=localhost/provision-lab/snapshot-mine.*:latest" in listed
    assert removed == ("rmi", IMAGE)


def test_labs_and_hosts_whose_names_run_together_are_told_apart() -> None:
    """Hyphens are in both: the images of lab `e2e-gpu` went with lab `e2e`, and their hosts too."""
    names = {container(lab, host) for lab, host in (("a", "b-c"), ("a-b", "c"))}
    tags = {snapshots._tag(lab, host) for lab, host in (("a", "b-c"), ("a-b", "c"))}
    assert len(names) == len(tags) == 2
    assert not fnmatch.fnmatch(snapshots._tag("a-b", "c"), snapshots._tag("a", "*"))
