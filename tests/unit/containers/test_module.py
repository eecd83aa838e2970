# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.provision.containers import packages, sources
from ansible.module_utils.provision.containers.packages import TOOLKIT
from ansible.module_utils.provision.host.fault import ConsentNeeded, Fault

from provisioner.ansible.modules import container_runtime
from tests.unit.containers.conftest import DRIVER, GPU, VERSION, Host

GPU_CONTAINER = {
    "id": "a" * 64,
    "engine": "docker",
    "pid": 7,
    "process": "python3",
    "devices": ["/dev/nvidia0"],
    "holds": True,
}
RELOAD = "reload systemd, which may remove the GPUs from docker container aaaaaaaaaaaa (python3, process 7)"


def call(state: str, step: str | None = None, *, check: bool = False, **params: Any) -> dict[str, Any]:
    defaults = {name: option.get("default") for name, option in container_runtime.ARGUMENTS.items()}
    given = {
        "engine": "docker",
        "engine_packages": ["docker.io"],
        "toolkit_version": VERSION,
        "repository": "https://mirror.example.com/{kind}/{arch}",
        "gpus": [GPU],
        "driver": DRIVER,
        "poll": 0,
    }
    module = SimpleNamespace(
        params={**defaults, **given, "state": state, "step": step, **params}, check_mode=check, warn=print
    )
    run = container_runtime.Run(module)
    try:
        result: dict[str, Any] = container_runtime.STEPS[state, step](run)
    except ConsentNeeded:
        return {"needs": run.needs}
    return result


def test_a_converged_host_lacks_nothing(docker: Host) -> None:
    assert call("inspected", "changes") == {
        "changed": False,
        "diff": [],
        "pending": [],
        "engine_packages": ["docker.io"],
    }
    assert call("verified")["findings"] == []
    assert docker.did == []


def test_dockers_own_packages_stay_where_the_distributions_were_asked_for(docker: Host) -> None:
    docker.packages["docker-ce"] = "28.1.1-1~ubuntu.24.04~noble"
    del docker.packages["docker.io"]
    result = call("inspected", "changes")
    assert (result["pending"], result["engine_packages"]) == ([], ["docker-ce"])


def test_a_bare_host_lacks_everything_and_nothing_is_done(host: Host) -> None:
    result = call("inspected", "changes")
    assert result["pending"] == [
        "docker.io",
        *TOOLKIT,
        "packages that apt holds",
        str(host.rule),
        str(host.daemon),
        "CDI specification: no CDI device for GPU-1",
    ]
    assert (host.did, host.ledger.exists()) == ([], False)


@pytest.mark.parametrize("step", ["versions", "settings"])
def test_check_mode_tells_and_does_nothing(host: Host, step: str) -> None:
    host.apt = False
    host.install("docker.io", version="1.19.1-1")
    result = call("present", step, check=True)
    assert result["changed"]
    assert result["diff"]
    assert (host.did, host.ledger.exists(), host.locks_file.exists(), host.daemon.exists()) == (
        [],
        False,
        False,
        False,
    )


def test_packages_wait_for_consent_while_containers_hold_gpus(host: Host) -> None:
    host.gpu_containers = [GPU_CONTAINER]
    assert call("inspected", "changes") == {"needs": [RELOAD]}
    assert call("inspected", "changes", consent=True)["pending"]
    dry = call("inspected", "changes", check=True)
    assert dry["provision"]["consent"] == [RELOAD]


def test_nothing_is_asked_where_nothing_changes(docker: Host) -> None:
    docker.gpu_containers, docker.runs = [GPU_CONTAINER], ["web"]
    assert call("inspected", "changes")["pending"] == []


def test_asks_for_all_of_it_at_once(docker: Host) -> None:
    docker.gpu_containers, docker.runs = [GPU_CONTAINER], ["web"]
    docker.docker = {"CDISpecDirs": []}
    docker.units = {"docker.service": True, "nvidia-cdi-refresh.path": False}
    assert call("inspected", "changes") == {"needs": ["restart Docker, which stops web", RELOAD]}


def test_a_docker_without_its_command_line_is_not_done(docker: Host) -> None:
    docker.command_line = False
    assert call("inspected", "changes")["pending"] == ["the engine's command line"]
    assert call("present", "settings")["command_line"] is False


def test_refuses_a_daemon_json_that_is_broken(docker: Host) -> None:
    docker.daemon.write_text("{")
    with pytest.raises(Fault, match="is not JSON"):
        call("inspected", "requirements")


def test_refuses_other_sources_by_their_name_or_moves_them(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = host.root / "nvidia-docker.list"
    path.write_text("deb ...\n")
    monkeypatch.setattr(sources, "stale", lambda _repository: [path] if path.exists() else [])
    with pytest.raises(Fault, match=r"nvidia-docker\.list already defines a repository") as caught:
        call("inspected", "requirements")
    assert "container_runtime_replace_repository" in caught.value.next_step
    assert f"move {path}" in call("inspected", "changes", replace_repository=True)["pending"]
    assert call("present", "versions", check=True)["diff"][0]["before"] == f"{path}\n"
    assert path.exists()
    assert call("present", "versions")["changed"]
    assert [one.name for one in host.root.glob("nvidia-docker*")] == [
        "nvidia-docker.list.provision-disabled-container-toolkit"
    ]


def test_never_moves_the_distributions_own_list(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    del host
    path = Path("/etc/apt/sources.list")
    monkeypatch.setattr(sources, "stale", lambda _repository: [path])
    with pytest.raises(Fault, match=r"sources\.list already defines") as caught:
        call("inspected", "requirements", replace_repository=True)
    assert caught.value.next_step == "remove those lines from /etc/apt/sources.list"


def test_brings_installed_packages_to_the_version(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.install("docker.io", version="1.19.1-1")
    asked: list[Any] = []

    def change(*arguments: Any) -> bool:
        asked.append(arguments)
        return len(asked) > 1

    monkeypatch.setattr(packages, "change", change)
    assert call("present", "versions")["finished"] is False
    result = call("present", "versions")
    assert (result["finished"], result["changed"]) == (True, True)
    assert asked[0][1:] == (VERSION, list(TOOLKIT), 0)
    host.install("docker.io")
    assert call("present", "versions") == {"changed": False, "diff": [], "finished": True}


def test_brings_the_modules_that_docker_needs_of_the_kernels(
    docker: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker.modules = ["kernel-modules-extra-6.12.0-124.8.1.el10_1.x86_64"]
    asked: list[Any] = []

    def add(*arguments: Any) -> bool:
        asked.append(arguments)
        docker.modules = []
        return False

    monkeypatch.setattr(packages, "add_modules", add)
    missing = f"{docker.modules[0]} is missing"
    assert call("inspected", "changes")["pending"] == docker.modules
    assert call("verified")["findings"] == [missing]
    with pytest.raises(Fault, match=missing):
        call("present", "settings")
    assert call("present", "versions", check=True)["changed"]
    assert asked == []
    assert call("present", "versions")["finished"] is False
    assert asked == [(["kernel-modules-extra-6.12.0-124.8.1.el10_1.x86_64"], ("docker.io",), 0)]
    assert call("present", "versions") == {"changed": False, "diff": [], "finished": True}


@pytest.mark.parametrize("settings", ['{"iptables": false}', '{"firewall-backend": "nftables"}'])
def test_a_docker_without_iptables_needs_no_module_of_the_kernel(docker: Host, settings: str) -> None:
    docker.modules = ["kernel-modules-extra-6.12.0-124.8.1.el10_1.x86_64"]
    assert call("verified")["findings"]
    docker.daemon.write_text(settings[:-1] + ', "features": {"cdi": true}}')
    assert call("verified")["findings"] == []


@pytest.mark.parametrize("params", [{"engine": "podman"}, {"container": True}])
def test_podman_and_containers_need_no_module_of_the_kernel(host: Host, params: dict[str, Any]) -> None:
    host.install("docker.io")
    host.modules = ["kernel-modules-extra-6.12.0-124.8.1.el10_1.x86_64"]
    assert host.modules[0] not in call("inspected", "changes", **params)["pending"]


def test_remembers_what_was_not_there_before(host: Host) -> None:
    (host.root / "leftover").mkdir()
    call("present", "versions")
    assert json.loads(host.ledger.read_text())["absent"] == [str(host.root / "shared")]
    (host.root / "shared").mkdir()
    call("present", "versions")
    assert json.loads(host.ledger.read_text())["absent"] == [str(host.root / "shared")]


def test_a_restart_is_not_made_without_consent(docker: Host) -> None:
    docker.docker, docker.runs = {"CDISpecDirs": []}, ["web"]
    assert call("present", "settings") == {"needs": ["restart Docker, which stops web"]}
    assert docker.did == []
    assert call("present", "settings", consent=True)["changed"]
    assert docker.did == ["restart docker"]


def test_verify_names_what_differs(docker: Host) -> None:
    docker.packages["nvidia-container-toolkit"] = "1.19.1-1"
    docker.devices = set()
    docker.held = set()
    assert call("verified")["findings"] == [
        "nvidia-container-toolkit is 1.19.1-1",
        "not as requested: packages that apt holds",
        "not as requested: CDI specification: no CDI device for GPU-1",
    ]


def test_takes_back_and_forgets(docker: Host) -> None:
    docker.ours = {"docker.io", *TOOLKIT}
    docker.runs = ["web"]
    assert call("absent", "settings") == {"needs": ["remove docker, which stops web"]}
    assert call("absent", "settings", check=True)["provision"]["consent"] == [
        "remove docker, which stops web"
    ]
    assert call("absent", "settings", consent=True)["changed"]
    docker.packages = {}
    assert call("absent", "leftovers") == {"changed": False, "diff": []}
    assert not docker.ledger.exists()


@pytest.mark.parametrize(
    ("state", "step", "message"),
    [
        ("present", "leftovers", "state present takes versions or settings step, not leftovers"),
        ("absent", None, "state absent takes settings or leftovers step, not None"),
        ("verified", "changes", "state verified takes no step, not changes"),
    ],
)
def test_a_step_belongs_to_its_state(state: str, step: str | None, message: str) -> None:
    module = SimpleNamespace(params={"state": state, "step": step}, check_mode=False, warn=print)
    with pytest.raises(Fault, match=message):
        container_runtime.outcome(module)
