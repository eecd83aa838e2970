# SPDX-License-Identifier: Apache-2.0
"""Give tests of the driver hands: apply it with words of their own, break the host, and see what is there."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from provisioner import lab
from provisioner.fleet import inventory
from provisioner.lab.podman import connect
from tests.e2e.machines import Done, Machines, wait_on

UBUNTU, ROCKY = "ubuntu", "rocky"
OLD, NEW, NEWEST, NEXT = "580.105.08", "580.159.04", "580.178.04", "595.84"


def only(host: str) -> pytest.MarkDecorator:
    """Run a test on one host, for it is about what the other has not."""
    return pytest.mark.parametrize("host", [host])


def mostly(host: str) -> pytest.MarkDecorator:
    """Run a test on one host, and in an exhaustive run on its twin of the other package manager too."""
    twin = UBUNTU if host == ROCKY else ROCKY
    return pytest.mark.parametrize("host", [host, pytest.param(twin, marks=pytest.mark.exhaustive)])


def lab_of(host: str) -> str:
    """Return the name of a host's lab; each has its own, so that two processes share the tests."""
    return f"e2e-gpu-{host}"


@dataclass(frozen=True)
class Boxes:
    """The hosts with simulated GPUs."""

    inventory: Path
    checkout: Path
    kept: set[str] = field(default_factory=set)

    def drive(self, host: str) -> None:
        """Give a host the inventory's driver: by an apply the first time, then by the files that it had."""
        if self.loaded(host) == NEW:
            return
        if host in self.kept:
            lab.restore(inventory.load(str(self.inventory)).hosts, host, say=print)
        else:
            self.apply(host)
            lab.keep(host, lab=lab_of(host))
            self.kept.add(host)

    @property
    def simulation(self) -> ModuleType:
        """Return the package that simulates GPUs; it lies beside the scenarios of Molecule."""
        folder = str(self.checkout / "molecule/shared")
        if folder not in sys.path:
            sys.path.insert(0, folder)
        return importlib.import_module("simulated_gpu")

    def repositories(self, name: str) -> Path:
        """Return a copy of the simulated repositories that a test may change."""
        copy: Path = self.simulation.copy(name, connect())
        return copy

    def hash_of_runfile(self, version: str) -> str:
        """Return the SHA-256 of the simulated installer of a driver."""
        folder = self.simulation.ensure(connect()) / "nvidia/runfile" / version
        return str(next(folder.glob("*.sha256")).read_text().split()[0])

    @contextlib.contextmanager
    def without(self, host: str, packages: str) -> Iterator[None]:
        """Have a host's distribution lack some packages for a while."""
        copy, sources = self.repositories(f"gone-{host}"), importlib.import_module("simulated_gpu.sources")
        folder = {UBUNTU: "distribution/ubuntu2404", ROCKY: "distribution/rocky9"}[host]
        self.simulation.withdraw(connect(), copy, folder, packages)
        sources.name_distribution(host, lab=lab_of(host), vendor=copy.name)
        try:
            yield
        finally:
            sources.name_distribution(host, lab=lab_of(host))

    def sh(self, host: str, script: str, *, check: bool = True) -> str:
        """Run a shell script as root on a host and return what it prints."""
        return lab.exec_in(host, ["sh", "-c", script], lab=lab_of(host), check=check).text

    def apply(self, host: str, *options: str, code: int = 0, **words: Any) -> Done:
        """Apply the driver on one host with some words, and read the report as JSON."""
        return Machines(self.inventory).provision(*self._orders(host, options, words), code=code)

    def start(self, host: str, **words: Any) -> subprocess.Popen[str]:
        """Start to apply the driver on one host, and leave that running."""
        return Machines(self.inventory).start(*self._orders(host, (), words))

    def _orders(self, host: str, options: tuple[str, ...], words: dict[str, Any]) -> list[str]:
        consent = [] if "--without-consent" in options else ["--yes"]
        more = [option for option in options if option != "--without-consent"]
        given = ["-e", json.dumps(words)]
        return [
            "apply",
            str(self.inventory),
            "--limit",
            host,
            "--phase",
            "gpu",
            "--json",
            *consent,
            *more,
            *given,
        ]

    def refused(self, host: str, *options: str, code: int = 1, **words: Any) -> Mapping[str, Any]:
        """Apply what has to fail, and return the one failure."""
        (failure,) = self.apply(host, *options, code=code, **words).report["failures"]
        assert failure["next"] or failure["message"].count(". "), failure
        return dict(failure)

    def verify(self, host: str, *, code: int = 0) -> Done:
        """Verify one host, and read the report as JSON."""
        return Machines(self.inventory).provision(
            "verify", str(self.inventory), "--limit", host, "--json", code=code
        )

    def remove(self, host: str) -> Done:
        """Take one host back."""
        return Machines(self.inventory).provision(
            "remove", str(self.inventory), "--limit", host, "--yes", "--json"
        )

    def state(self, host: str, **words: Any) -> None:
        """Change what the simulated hardware shows from the next boot on."""
        self.simulation.set_state(host, lab=lab_of(host), **words)

    @contextlib.contextmanager
    def broken(self, host: str, *, boot: bool = True, **words: Any) -> Iterator[None]:
        """Break the simulated hardware for a while."""
        self.state(host, **words)
        if boot:
            self.simulation.boot(host, lab=lab_of(host))
        try:
            yield
        finally:
            self.state(host, **dict.fromkeys(words))
            if boot:
                self.simulation.boot(host, lab=lab_of(host))

    def packages(self, host: str) -> set[str]:
        """Return every package of the driver or a kernel with its version."""
        query = (
            "dpkg-query -W -f '${db:Status-Abbrev} ${Package}=${Version}\\n' | grep '^ii' | cut -c5-"
            if host == UBUNTU
            else "rpm -qa --qf '%{NAME}=%{VERSION}\\n'"
        )
        return set(
            self.sh(host, f"{query} | grep -E '^(lib)?nvidia|^kmod-nvidia|^linux-|^kernel' || true").split()
        )

    def loaded(self, host: str) -> str:
        """Return the driver that is loaded, empty without one."""
        said = self.sh(host, "cat /proc/driver/nvidia/version 2> /dev/null || true")
        found = re.search(r"\b[0-9]{3}\.[0-9.]*[0-9]\b", said)
        return found.group() if found else ""

    def wait(self, host: str, script: str, what: str, seconds: float = 60) -> str:
        """Run a script until it succeeds, and return what it printed."""
        return wait_on(host, lab_of(host), script, what, seconds)
