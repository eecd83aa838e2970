# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.containers import cdi
from ansible.module_utils.provision.containers import docker as container_docker
from ansible.module_utils.provision.containers.devices import PERMISSION, WITHOUT_PERMISSION
from ansible.module_utils.provision.containers.ledger import Ledger
from ansible.module_utils.provision.containers.packages import TOOLKIT, Packages, Wanted, too_old
from ansible.module_utils.provision.containers.runtime import Runtime
from ansible.module_utils.provision.host.fault import Fault

from tests.unit.containers.conftest import DRIVER, GPU, VERSION, Host
from tests.unit.fakes import Answers

WANTED = Wanted("docker", ("docker.io",), VERSION, gpus=[GPU], driver=DRIVER)
PODMAN = Wanted("podman", ("podman",), VERSION, gpus=[GPU], driver=DRIVER)


class Refused(Exception):
    pass


def refuse(what: str) -> None:
    raise Refused(what)


def settle(wanted: Wanted = WANTED, *, dry: bool = False, warnings: list[str] | None = None) -> Ledger:
    warned = warnings if warnings is not None else []
    runtime = Runtime(wanted, dry=dry, allow=refuse, warn=warned.append)
    runtime.holds.lock()
    runtime.settle()
    return runtime.ledger


def ledger(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.ledger.read_text())
    return found


def test_brings_all_of_it_about_once(host: Host) -> None:
    host.install("docker.io")
    host.units = {"nvidia-cdi-refresh.path": False, "nvidia-cdi-refresh.service": False}
    host.unlinked = ["/dev/nvidia0"]
    changes = settle().changes
    assert changes == [
        "packages that apt holds",
        str(host.rule),
        "links in /dev/char",
        "enable nvidia-cdi-refresh.path",
        "enable nvidia-cdi-refresh.service",
        str(host.daemon),
        "enable docker.service",
        "CDI specification: no CDI device for GPU-1",
    ]
    assert host.did == [
        "hold 4",
        "link",
        "enable nvidia-cdi-refresh.path",
        "start nvidia-cdi-refresh.path",
        "enable nvidia-cdi-refresh.service",
        "enable docker.service",
        "start docker",
        "generate",
    ]
    assert json.loads(host.daemon.read_text()) == {"features": {"cdi": True}}
    assert settle().changes == []


def test_a_dry_run_tells_the_same_and_does_nothing(host: Host) -> None:
    host.install("docker.io")
    told = settle(dry=True)
    assert (host.did, host.daemon.exists(), host.rule.exists(), host.ledger.exists()) == (
        [],
        False,
        False,
        False,
    )
    assert {"before_header", "after_header", "before", "after"} == set(told.diff[0])
    assert told.changes == settle().changes


def test_podman_needs_no_daemon(host: Host) -> None:
    host.install("podman")
    assert settle(PODMAN).changes == [
        "packages that apt holds",
        str(host.rule),
        "CDI specification: no CDI device for GPU-1",
    ]
    assert not host.daemon.exists()


def test_a_host_without_gpus_gets_the_engine_alone(host: Host) -> None:
    host.packages = {"docker.io": "28.1"}
    assert settle(Wanted("docker", ("docker.io",))).changes == ["enable docker.service"]


def test_a_driver_that_is_broken_for_the_moment_takes_nothing_from_docker(docker: Host) -> None:
    assert settle(Wanted("docker", ("docker.io",))).changes == []
    assert docker.did == []


def test_the_devices_of_a_host_that_is_a_container_are_left_alone(host: Host) -> None:
    host.install("podman")
    host.unlinked = ["/dev/nvidia0"]
    assert str(host.rule) not in settle(dataclasses.replace(PODMAN, container=True)).changes
    assert "link" not in host.did


def test_links_that_cannot_be_made_are_a_warning_that_is_given_once(host: Host) -> None:
    host.install("podman")
    host.unlinked, host.cannot_link = ["/dev/nvidia0"], "nvidia-ctk failed: no such device"
    warnings: list[str] = []
    settle(PODMAN, warnings=warnings)
    assert warnings == [
        "systemctl daemon-reload may remove GPUs from containers: nvidia-ctk failed: no such device"
    ]
    assert settle(PODMAN, warnings=warnings).changes == []
    assert len(warnings) == 1


def test_dnf_locks_the_version_and_remembers_the_locks_that_were_there(host: Host) -> None:
    host.apt = False
    host.install("podman")
    theirs = "nvidia-container-toolkit-0:1.19.1-1.*"
    host.locks_file.write_text(f"kernel-0:5.14.*\n{theirs}\n")
    assert "versions that dnf locks" in settle(PODMAN).changes
    assert ledger(host)["locks"] == [theirs]
    newer = dataclasses.replace(PODMAN, toolkit_version="1.21.0-1")
    host.install("podman", version="1.21.0-1")
    settle(newer)
    assert ledger(host)["locks"] == [theirs]
    assert host.locks_file.read_text().splitlines() == [
        "kernel-0:5.14.*",
        *(f"{name}-0:1.21.0-1.*" for name in TOOLKIT),
    ]


def test_restarts_a_docker_that_has_not_read_its_daemon_json(docker: Host) -> None:
    docker.docker = {"CDISpecDirs": []}
    assert settle().changes == ["restart Docker"]
    assert docker.did == ["restart docker"]
    assert settle().changes == []


def test_asks_before_a_restart_stops_containers(docker: Host) -> None:
    docker.docker, docker.runs = {"CDISpecDirs": []}, ["web", "llm"]
    with pytest.raises(Refused, match="restart Docker, which stops llm, web"):
        settle()
    assert docker.did == []


def test_a_docker_that_ignores_its_daemon_json_is_a_fault(
    docker: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker.docker = {"CDISpecDirs": []}
    monkeypatch.setattr("ansible.module_utils.provision.containers.docker.control", docker.did.append)
    with pytest.raises(Fault, match=r"restarted and still does not work with features\.cdi"):
        settle()


def test_goes_over_to_nvidias_runtime_and_back(docker: Host) -> None:
    runtime = dataclasses.replace(WANTED, cdi=False)
    assert settle(runtime).changes == [str(docker.daemon), str(docker.daemon), "restart Docker"]
    assert json.loads(docker.daemon.read_text()) == {
        "runtimes": {"nvidia": {"args": [], "path": "nvidia-container-runtime"}}
    }
    assert settle(runtime).changes == []
    settle()
    assert json.loads(docker.daemon.read_text()) == {"features": {"cdi": True}}


def test_shows_of_daemon_json_only_what_changes(host: Host) -> None:
    host.install("docker.io")
    host.daemon.parent.mkdir()
    host.daemon.write_text(
        '{"proxies": {"http-proxy": "http://me:secret@proxy"}, "features": {"cdi": false}}'
    )
    shown = [one for one in settle().diff if one["before_header"] == str(host.daemon)]
    assert [(one["before"], one["after"]) for one in shown] == [
        ("features.cdi = false\n", "features.cdi = true\n")
    ]
    assert json.loads(host.daemon.read_text())["proxies"] == {"http-proxy": "http://me:secret@proxy"}


def test_drops_its_own_specification_once_the_units_work(host: Host) -> None:
    host.install("podman")
    settle(PODMAN)
    assert ledger(host)["made"] == [str(cdi.KEPT)]
    cdi.PASSING.parent.mkdir()
    cdi.PASSING.touch()
    assert settle(PODMAN).changes == [f"remove {cdi.KEPT}"]
    assert not cdi.KEPT.exists()
    assert settle(PODMAN).changes == []


def test_selinux_lets_containers_use_the_gpus(host: Host) -> None:
    host.install("podman")
    host.permissions(container_use_devices="0 0", container_use_xserver_devices="0 0")
    told = settle(PODMAN, dry=True)
    assert PERMISSION in told.changes
    assert host.did == []
    assert PERMISSION in settle(PODMAN).changes
    assert "container_use_xserver_devices on" in host.did
    assert ledger(host)["selinux"] == ["container_use_xserver_devices"]
    assert settle(PODMAN).changes == []


def test_selinux_is_left_alone_where_containers_may_use_the_gpus(host: Host) -> None:
    host.install("podman")
    host.permissions(container_use_devices="1 1", container_use_xserver_devices="0 0")
    assert PERMISSION not in settle(PODMAN).changes
    assert "selinux" not in ledger(host)


def test_a_policy_that_comes_with_the_engine_is_foreseen(host: Host) -> None:
    host.permissions()
    assert PERMISSION in settle(PODMAN, dry=True).changes


def test_a_policy_without_the_permission_is_a_warning(host: Host) -> None:
    host.install("podman")
    host.permissions()
    warnings: list[str] = []
    settle(PODMAN, warnings=warnings)
    assert warnings == [WITHOUT_PERMISSION]


@pytest.mark.parametrize(
    "options", [["name=seccomp,profile=builtin", "name=selinux"], ["name=seccomp"], None]
)
def test_selinux_confines_dockers_containers_only_where_docker_says_so(
    docker: Host, options: list[str] | None
) -> None:
    docker.permissions(container_use_devices="0 0")
    docker.docker = {"CDISpecDirs": ["/etc/cdi"], "SecurityOptions": options}
    assert (settle().changes == [PERMISSION]) is bool(options and "name=selinux" in options)


def test_selinux_of_the_machine_below_a_container_is_left_alone(host: Host) -> None:
    host.install("podman")
    host.permissions(container_use_devices="0 0")
    assert PERMISSION not in settle(dataclasses.replace(PODMAN, container=True)).changes


def test_holds_the_kernels_modules_with_the_driver(docker: Host) -> None:
    docker.loose = ["kernel-modules-extra-0:6.12.0-124.8.1.el10_1.*"]
    assert settle(dry=True).changes == ["versions that dnf locks"]
    assert settle().changes == ["versions that dnf locks"]
    assert docker.did == ["hold kernel"]
    assert settle().changes == []


def test_refuses_packages_of_another_version(host: Host) -> None:
    host.install("podman", version="1.19.1-1")
    del host.packages["libnvidia-container1"]
    packages = Packages(PODMAN)
    assert packages.missing_packages() == ["libnvidia-container1"]
    assert packages.wrong_versions() == list(TOOLKIT[:3])
    with pytest.raises(Fault, match=r"nvidia-container-toolkit is 1\.19\.1-1.*1 is missing, but"):
        packages.require()


@pytest.mark.parametrize(
    ("version", "engine", "old"),
    [
        ("20.10.24+dfsg1-1", "docker", True),
        ("24.0.7-0ubuntu4.1", "docker", True),
        ("25.0.0", "docker", False),
        ("28.2.2-0ubuntu1~24.04.1", "docker", False),
        ("100.1", "docker", False),
        ("3.4.4+ds1-1ubuntu1", "podman", True),
        ("4.0.9", "podman", True),
        ("4.1", "podman", False),
        ("4.10.0", "podman", False),
        ("5.4.2~rc1", "podman", False),
        ("", "podman", False),
    ],
)
def test_knows_which_engines_know_cdi(version: str, engine: str, *, old: bool) -> None:
    assert too_old(version, engine) is old


def test_refuses_an_engine_that_would_be_installed_without_cdi(host: Host) -> None:
    host.candidate = "3.4.4+ds1-1"
    with pytest.raises(
        Fault, match=r"podman 3\.4\.4\+ds1-1 on this host does not support CDI; 4.1 or newer is"
    ):
        Packages(PODMAN).refuse_old_engine()
    Packages(dataclasses.replace(WANTED, cdi=False)).refuse_old_engine()


def test_restarts_a_docker_that_does_not_have_the_hosts_proxy_yet(
    docker: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settle()
    docker.did.clear()
    answers = Answers(monkeypatch)
    answers.answer("systemctl show --property=MainPID docker.service", "MainPID=7")
    monkeypatch.setattr(container_docker.proxied, "DOCKER", str(tmp_path / "drop-in"))
    monkeypatch.setattr(container_docker.proxy, "FILE", tmp_path / "proxy.env")
    (tmp_path / "7").mkdir()
    (tmp_path / "7/environ").write_text("A=b\0https_proxy=http://proxy:1\0")
    (tmp_path / "proxy.env").write_text("https_proxy='http://proxy:2'\n")
    assert not container_docker.lacks_proxy(tmp_path)
    (tmp_path / "drop-in").touch()
    assert container_docker.lacks_proxy(tmp_path)
    (tmp_path / "proxy.env").write_text("https_proxy='http://proxy:1'\n")
    assert not container_docker.lacks_proxy(tmp_path)
    monkeypatch.setattr(container_docker, "lacks_proxy", lambda: "restart docker" not in docker.did)
    assert settle().changes == ["restart Docker"]
    assert settle().changes == []
