# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.module_utils.provision.containers import cdi
from ansible.module_utils.provision.containers.packages import TOOLKIT
from ansible.module_utils.provision.containers.runtime import ANY, Runtime

from tests.unit.containers.conftest import Host

GPU_CONTAINER = {
    "id": "a" * 64,
    "engine": "podman",
    "pid": 7,
    "process": "python3",
    "devices": ["/dev/nvidia0"],
    "holds": True,
}


def removal(asked: list[str] | None = None, *, dry: bool = False) -> Runtime:
    return Runtime(ANY, dry=dry, allow=(asked if asked is not None else []).append, warn=print)


def test_takes_back_what_was_made(docker: Host) -> None:
    steps = removal()
    steps.undo()
    assert steps.ledger.changes == [
        "packages that apt holds",
        str(docker.rule),
        str(docker.daemon),
        "restart Docker",
    ]
    assert not docker.rule.exists()
    assert not docker.daemon.exists()
    assert not docker.held
    again = removal()
    again.undo()
    assert again.ledger.changes == []


def test_a_check_takes_nothing_back(docker: Host) -> None:
    before = (docker.daemon.read_text(), docker.ledger.read_text())
    steps = removal(dry=True)
    steps.undo()
    steps.forget()
    assert steps.ledger.changes == ["packages that apt holds", str(docker.rule), str(docker.daemon)]
    assert (docker.daemon.read_text(), docker.ledger.read_text()) == before
    assert docker.did == []


def test_leaves_what_others_have_changed_since(docker: Host) -> None:
    docker.daemon.write_text('{"features": {"cdi": false, "buildkit": true}}')
    docker.rule.write_text("# theirs\n")
    docker.held = set()
    steps = removal()
    steps.undo()
    assert steps.ledger.changes == []
    assert docker.rule.read_text() == "# theirs\n"


def test_keeps_the_rest_of_daemon_json(docker: Host) -> None:
    docker.daemon.write_text('{"debug": true, "features": {"cdi": true}}')
    removal().undo()
    assert json.loads(docker.daemon.read_text()) == {"debug": True}


def test_gives_dnf_the_locks_back_that_it_had(host: Host) -> None:
    host.apt = False
    host.ledger.write_text(json.dumps({"locks": ["libnvidia-container1-0:1.19.1-1.*"]}))
    host.locks_file.write_text("kernel-0:5.14.*\nlibnvidia-container1-0:1.20.1-1.*\n")
    removal().undo()
    assert host.locks_file.read_text() == "kernel-0:5.14.*\nlibnvidia-container1-0:1.19.1-1.*\n"


def test_takes_the_permission_back_that_it_gave(host: Host) -> None:
    host.permissions(container_use_devices="1 1", container_use_xserver_devices="1 1")
    removal().undo()
    assert host.did == []
    host.ledger.write_text(json.dumps({"selinux": ["container_use_devices"]}))
    removal().undo()
    assert host.did == ["container_use_devices off"]
    removal().undo()
    assert host.did == ["container_use_devices off"]


def test_asks_where_containers_lose_what_they_run_on(docker: Host) -> None:
    docker.ours = {"docker.io", *TOOLKIT}
    docker.runs, docker.podman_runs, docker.gpu_containers = ["web"], ["other"], [GPU_CONTAINER]
    asked: list[str] = []
    steps = removal(asked)
    steps.ask()
    toolkit = "remove the container toolkit, which may remove the GPUs from podman container aaaaaaaaaaaa "
    assert asked == [f"{toolkit}(python3, process 7)", "remove docker, which stops web"]
    steps.undo()
    assert "restart docker" not in docker.did


def test_asks_before_a_docker_that_stays_is_restarted(docker: Host) -> None:
    docker.runs = ["web"]
    asked: list[str] = []
    removal(asked).undo()
    assert asked == ["restart Docker, which stops web"]


def test_removes_what_was_not_there_before_once_the_packages_are_gone(host: Host) -> None:
    leftover, shared = host.root / "leftover", host.root / "shared"
    for folder in (leftover, shared):
        folder.mkdir()
        (folder / "file").touch()
    host.ledger.write_text(json.dumps({"absent": [str(leftover), str(shared)]}))
    host.install("podman")
    kept = removal()
    kept.forget()
    assert (kept.ledger.changes, leftover.exists()) == ([], True)
    host.ledger.write_text(json.dumps({"absent": [str(leftover), str(shared)]}))
    host.packages = {}
    steps = removal()
    steps.forget()
    assert steps.ledger.changes == [f"remove {leftover}"]
    assert shared.is_dir()
    assert not host.ledger.exists()


def test_removes_the_specification_that_the_toolkits_unit_made(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = host.root / "shared"
    shared.mkdir()
    monkeypatch.setattr(cdi, "PASSING", shared / "nvidia.yaml")
    (shared / "nvidia.yaml").touch()
    host.ledger.write_text(json.dumps({"absent": [str(shared)]}))
    removal().forget()
    assert not shared.exists()


def test_switches_units_off_that_it_switched_on(host: Host) -> None:
    host.ledger.write_text(json.dumps({"units": ["nvidia-cdi-refresh.path"], "made": ["/none/nvidia.yaml"]}))
    host.units = {"nvidia-cdi-refresh.path": True}
    removal().undo()
    assert host.did == ["disable nvidia-cdi-refresh.path"]
    assert not Path("/none").exists()
