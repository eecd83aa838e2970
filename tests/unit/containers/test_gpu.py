# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.provision.gpu import containers

A, B, C = "a" * 64, "b" * 64, "c" * 64


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"/system.slice/docker-{A}.scope", ("docker", A)),
        (f"/system.slice/docker-{A}.scope/init.scope", ("docker", A)),
        (f"/docker/{A}", ("docker", A)),
        (f"/machine.slice/libpod-{A}.scope/container", ("podman", A)),
        (
            f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container",
            ("podman", A),
        ),
        (f"/libpod_parent/libpod-{A}", ("podman", A)),
        (f"/system.slice/llm.service/libpod-payload-{A}", ("podman", A)),
        (f"/machine.slice/libpod-conmon-{A}.scope", None),
        (f"/kubepods.slice/kubepods-pod12.slice/cri-containerd-{A}.scope", ("containerd", A)),
        (f"/kubepods/burstable/pod12/{A}", ("containerd", A)),
        (f"/system.slice/nerdctl-{A}.scope", ("containerd", A)),
        (f"/kubepods.slice/kubepods-pod12.slice/crio-{A}.scope", ("cri-o", A)),
        (f"/machine.slice/libpod-{A}.scope/system.slice/docker-{B}.scope", ("docker", B)),
        ("/system.slice/docker.service", None),
        ("/system.slice/vllm.service", None),
        ("/", None),
        ("", None),
    ],
)
def test_reads_a_control_group(path: str, expected: tuple[str, str] | None) -> None:
    assert containers.container_of(f"0::{path}\n") == expected


def test_reads_the_older_hierarchies() -> None:
    assert containers.container_of(f"12:cpuset:/\n3:devices:/docker/{A}\n0::/\n") == ("docker", A)


class Proc:
    """Builds the process table of a host."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.add(1, "/init.scope", "systemd")

    def add(
        self, pid: int, group: str, name: str, holds: tuple[str, ...] = (), given: tuple[str, ...] = ()
    ) -> None:
        folder = self.root / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "root/dev").mkdir(parents=True)
        (folder / "cgroup").write_text(f"0::{group}\n")
        (folder / "comm").write_text(f"{name}\n")
        for number, target in enumerate(("/dev/null", *holds)):
            (folder / "fd" / str(number)).symlink_to(target)
        for device in given:
            (folder / "root/dev" / device).touch()


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def test_an_engine_on_the_host_is_no_container(proc: Proc) -> None:
    proc.add(7, "/system.slice/vllm.service", "python3", holds=("/dev/nvidia0",), given=("nvidia0",))
    assert containers.gpu_containers(proc.root) == []


def test_names_each_container_once_with_the_process_that_holds(proc: Proc) -> None:
    group = f"/system.slice/docker-{A}.scope"
    proc.add(40, group, "sh")
    proc.add(101, group, "python3", holds=("/dev/nvidia1", "/dev/nvidiactl"))
    proc.add(102, group, "worker", holds=("/dev/nvidia0",))
    proc.add(103, f"/machine.slice/libpod-{B}.scope/container", "nginx")
    found = containers.gpu_containers(proc.root)
    assert found == [
        {
            "id": A,
            "engine": "docker",
            "pid": 101,
            "process": "python3",
            "devices": ["/dev/nvidia0", "/dev/nvidia1", "/dev/nvidiactl"],
            "holds": True,
        }
    ]
    assert containers.describe(found[0]) == (
        "docker container aaaaaaaaaaaa (python3, process 101) "
        "holds /dev/nvidia0, /dev/nvidia1, /dev/nvidiactl"
    )


def test_a_container_that_was_given_a_gpu_counts_before_it_uses_it(proc: Proc) -> None:
    proc.add(50, f"/libpod_parent/libpod-{B}", "jupyter", given=("nvidia0", "nvidiactl", "null"))
    found = containers.gpu_containers(proc.root)
    assert [(one["pid"], one["devices"], one["holds"]) for one in found] == [(50, ["/dev/nvidia0"], False)]
    assert containers.describe(found[0]).endswith("(jupyter, process 50) is given /dev/nvidia0")


def test_a_host_that_is_a_container_itself_is_not_its_own(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    (tmp_path / "1/cgroup").write_text(f"0::/machine.slice/libpod-{C}.scope/init.scope\n")
    inside = f"/machine.slice/libpod-{C}.scope/system.slice"
    proc.add(20, f"{inside}/vllm.service", "python3", holds=("/dev/nvidia0",))
    proc.add(21, f"{inside}/docker-{A}.scope", "python3", holds=("/dev/nvidia0",))
    assert [one["id"] for one in containers.gpu_containers(proc.root)] == [A]


def test_a_dev_that_leads_elsewhere_is_not_followed(proc: Proc, tmp_path: Path) -> None:
    proc.add(50, f"/docker/{A}", "sh")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/nvidia0").touch()
    devices = tmp_path / "50/root/dev"
    devices.rmdir()
    devices.symlink_to(tmp_path / "elsewhere")
    assert containers.gpu_containers(proc.root) == []


def test_a_process_that_ended_meanwhile_is_passed_over(proc: Proc, tmp_path: Path) -> None:
    (tmp_path / "60").mkdir()
    proc.add(61, f"/docker/{A}", "python3", holds=("/dev/nvidia0",))
    (tmp_path / "61/comm").unlink()
    assert [one["process"] for one in containers.gpu_containers(proc.root)] == ["unknown"]
