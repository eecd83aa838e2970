# SPDX-License-Identifier: Apache-2.0
"""Stand in for a host with a container engine: what its programs say, and what they were asked to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.containers import cdi as container_cdi
from ansible.module_utils.provision.containers import (
    daemon,
    devices,
    holds,
    ledger,
    modules,
    packages,
    runtime,
    selinux,
    sources,
)
from ansible.module_utils.provision.containers import docker as container_docker
from ansible.module_utils.provision.containers.docker import CDI
from ansible.module_utils.provision.containers.packages import TOOLKIT
from ansible.module_utils.provision.gpu import containers
from ansible.module_utils.provision.host.packages import Apt, Dnf, dnf, record

from provisioner.ansible.modules import container_runtime

VERSION = "1.20.1-1"
DRIVER = "580.159.04"
GPU = {"uuid": "GPU-1", "mig": None}


class Host:
    """Hold what a host would answer; `did` lists what was done to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.daemon = root / "docker/daemon.json"
        self.ledger = root / "ledger.json"
        self.locks_file = root / "versionlock.list"
        self.rule = root / "rule"
        self.did: list[str] = []
        self.apt = True
        self.packages: dict[str, str] = {}
        self.held: set[str] = set()
        self.ours: set[str] = set()
        self.units: dict[str, bool] = {}
        self.docker: dict[str, Any] | None = None
        self.runs: list[str] = []
        self.podman_runs: list[str] = []
        self.gpu_containers: list[dict[str, Any]] = []
        self.devices: set[str] = set()
        self.unlinked: list[str] = []
        self.cannot_link = ""
        self.command_line = True
        # Packages with a module that kernels lack, and the locks that they lack.
        self.modules: list[str] = []
        self.loose: list[str] = []
        self.selinux = root / "selinux"
        # What apt would install of the engine.
        self.candidate = ""

    def systemctl(self, verb: str, unit: str) -> None:
        self.did.append(f"{verb} {unit}")
        if verb in ("enable", "disable"):
            self.units[unit] = verb == "enable"

    def control(self, verb: str) -> None:
        """Let Docker read its daemon.json."""
        self.did.append(f"{verb} docker")
        said = json.loads(self.daemon.read_text()) if self.daemon.exists() else {}
        cdi = said.get("features", {}).get("cdi")
        self.docker = {"CDISpecDirs": ["/etc/cdi"] if cdi else [], "Runtimes": said.get("runtimes", {})}

    def link(self) -> str:
        self.did.append("link")
        if not self.cannot_link:
            self.unlinked = []
        return self.cannot_link

    def generate(self, gpus: list[dict[str, Any]], _driver: str) -> Path | None:
        self.did.append("generate")
        self.devices |= {gpu["uuid"] for gpu in gpus}
        if self.units.get("nvidia-cdi-refresh.service"):
            return None
        made = self.root / "cdi/nvidia.yaml"
        made.parent.mkdir(exist_ok=True)
        made.touch()
        return made

    def hold(self) -> None:
        self.did.append("hold kernel")
        self.loose = []

    def permissions(self, **values: str) -> None:
        """Let SELinux be on, with these permissions in its policy."""
        (self.selinux / "booleans").mkdir(parents=True, exist_ok=True)
        (self.selinux / "enforce").write_text("1")
        for name, value in values.items():
            (self.selinux / "booleans" / name).write_text(value)

    def put(self, name: str, *, on: bool) -> None:
        self.did.append(f"{name} {'on' if on else 'off'}")
        self.permissions(**{name: "1 1" if on else "0 0"})

    def install(self, *engine: str, version: str = VERSION) -> None:
        """Have everything installed."""
        self.packages = {**dict.fromkeys(TOOLKIT, version), **dict.fromkeys(engine, "28.1")}


class Manager(Apt):
    """A package manager of either kind."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.host = host

    @property
    def holds_versions(self) -> bool:  # type: ignore[override] # a test may change it
        return not self.host.apt

    def versions(self, *names: str) -> dict[str, str]:
        return {name: version for name, version in self.host.packages.items() if name in names}

    def candidate(self, _name: str) -> str:
        return self.host.candidate

    def held(self) -> list[str]:
        return sorted(self.host.held) if self.host.apt else Dnf().held()

    def hold(self, words: Iterable[str], instead_of: Iterable[str] = ()) -> None:
        if not self.host.apt:
            Dnf().hold(words, instead_of)
            return
        for verb, names in (("unhold", set(instead_of)), ("hold", set(words))):
            self.host.did += [f"{verb} {len(names)}"] if names else []
        self.host.held = self.host.held - set(instead_of) | set(words)


def replace(monkeypatch: pytest.MonkeyPatch, module: Any, **parts: Any) -> None:
    for name, part in parts.items():
        monkeypatch.setattr(module, name, part)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    fake = Host(tmp_path)
    manager = Manager(fake)
    monkeypatch.setattr(packages, "toolkit_manager", lambda: manager)
    monkeypatch.setattr(dnf, "VERSIONLOCK", fake.locks_file)
    monkeypatch.setattr(record, "installed_for", lambda _asked: set(fake.ours))
    monkeypatch.setattr(packages, "podman_running", lambda: list(fake.podman_runs))
    replace(
        monkeypatch,
        container_cdi,
        RULE=fake.rule,
        KEPT=tmp_path / "cdi/nvidia.yaml",
        PASSING=tmp_path / "run-cdi/nvidia.yaml",
        listed=lambda: set(fake.devices),
        described_drivers=set,
        units=lambda: [unit for unit in fake.units if unit.startswith("nvidia-cdi")],
        is_enabled=lambda unit: fake.units.get(unit, False),
        unlinked=lambda: list(fake.unlinked),
        link=fake.link,
        generate=fake.generate,
        reload_udev=lambda: None,
    )
    replace(
        monkeypatch,
        container_docker,
        DAEMON=fake.daemon,
        info=lambda: fake.docker,
        running=lambda: list(fake.runs),
        control=fake.control,
        _validate=lambda _path: None,
    )
    write = container_docker.write
    monkeypatch.setattr(container_docker, "write", lambda text: write(text, fake.daemon))
    leftovers = (str(tmp_path / "leftover"), str(tmp_path / "shared"))
    monkeypatch.setattr(ledger, "LEDGER", fake.ledger)
    replace(monkeypatch, runtime, LEFTOVERS=leftovers, SHARED=leftovers[1:])
    replace(monkeypatch, daemon, DAEMON=fake.daemon, systemctl=fake.systemctl)
    replace(monkeypatch, devices, systemctl=fake.systemctl)
    replace(monkeypatch, containers, gpu_containers=lambda: list(fake.gpu_containers))
    replace(
        monkeypatch,
        modules,
        missing_packages=lambda _manager: list(fake.modules),
        refuse_missing=lambda _manager, _names: None,
        loose=lambda: list(fake.loose),
    )
    monkeypatch.setattr(holds.driver_hold, "hold", lambda _manager: fake.hold())
    monkeypatch.setattr(holds, "driver_manager", lambda: manager)
    replace(monkeypatch, selinux, SELINUX=fake.selinux, DEVICES=tmp_path / "dev", put=fake.put)
    replace(monkeypatch, sources, stale=lambda _repository: [])
    replace(monkeypatch, container_runtime, DAEMON=fake.daemon)
    monkeypatch.setattr(shutil, "which", lambda _name: "/usr/bin/docker" if fake.command_line else None)
    return fake


@pytest.fixture
def docker(host: Host) -> Host:
    """Return a host whose Docker gives GPUs to containers, as this role leaves it."""
    host.install("docker.io")
    host.held, host.devices = set(TOOLKIT), {"GPU-1"}
    host.units = {"docker.service": True}
    host.docker = {"CDISpecDirs": ["/etc/cdi"]}
    host.daemon.parent.mkdir()
    host.daemon.write_text('{"features": {"cdi": true}}\n')
    host.rule.write_text(container_cdi.RULE_TEXT)
    entry = {".".join(CDI): {"before": None, "file": False}}
    host.ledger.write_text(json.dumps({"daemon": entry, "held": list(TOOLKIT), "rule": str(host.rule)}))
    return host
