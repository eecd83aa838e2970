# SPDX-License-Identifier: Apache-2.0
"""Faults and changes of a host that has its driver: what runs goes on, or comes back with the new one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from provisioner import lab
from tests.e2e.gpu.boxes import (
    NEW,
    NEWEST,
    NEXT,
    OLD,
    ROCKY,
    UBUNTU,
    Boxes,
    lab_of,
    mostly,
    only,
)

# A unit as engines have one, which keeps a GPU busy; what it would serve does not matter here.
ENGINE = """# Managed by provision; a stand-in for an engine.
[Service]
ExecStart=/bin/sh -c 'exec 3</dev/nvidia0; exec sleep infinity'
[Install]
WantedBy=multi-user.target
[X-Provision]
Engine=vllm
"""
# What somebody else does to the driver, or a timer at night.
INSTALL = {
    UBUNTU: "DEBIAN_FRONTEND=noninteractive apt-get -y -qq --allow-change-held-packages install",
    ROCKY: "dnf -y -q --disableplugin=versionlock install",
}
EXACTLY = {UBUNTU: "={}-1ubuntu1", ROCKY: "-{}"}
UPGRADES = {
    UBUNTU: f"rm /etc/apt/preferences.d/provision-nvidia-driver; {INSTALL[UBUNTU]} "
    "$(dpkg-query -W -f '${Package} ${Version}\\n' '*nvidia*' | awk '/580\\.159/ { print $1 }')",
    ROCKY: "dnf -y -q --disableplugin=versionlock upgrade '*nvidia*'",
}
FABRICS = {UBUNTU: "dpkg-query -W nvidia-fabricmanager", ROCKY: "rpm -q nvidia-fabricmanager"}
# What the modules are called in DKMS.
MODULES = {UBUNTU: "nvidia", ROCKY: "nvidia-open"}


@pytest.fixture
def driven(boxes: Boxes, host: str) -> Boxes:
    """Give a host with the driver that the inventory asks for."""
    boxes.drive(host)
    assert boxes.loaded(host) == NEW
    return boxes


@pytest.fixture
def busy(driven: Boxes, host: str) -> Iterator[Boxes]:
    """Give a host on which an engine of ours uses the GPU."""
    driven.sh(host, f"cat > /etc/systemd/system/vllm.service <<'END'\n{ENGINE}END\n")
    driven.sh(host, "systemctl daemon-reload && systemctl enable --now vllm.service")
    yield driven
    driven.sh(host, "systemctl disable --now vllm.service; rm /etc/systemd/system/vllm.service")


@pytest.fixture
def held(driven: Boxes, host: str) -> Iterator[Boxes]:
    """Give a host on which somebody's process uses the GPU."""
    driven.sh(host, "systemd-run --quiet --unit=somebody sh -c 'exec 3</dev/nvidia0; exec sleep infinity'")
    yield driven
    driven.sh(host, "systemctl stop somebody || true")


def pid(boxes: Boxes, host: str) -> str:
    """Return the engine's process, once it runs."""
    return boxes.wait(
        host, "systemctl is-active --quiet vllm && systemctl show --property=MainPID --value vllm", "engine"
    )


@mostly(UBUNTU)
def test_a_second_run_changes_nothing(driven: Boxes, host: str) -> None:
    report = driven.apply(host).report
    assert report["changed"] == 0, json.dumps(report["changes"])
    assert driven.apply(host, "--check").report["changed"] == 0


@mostly(ROCKY)
def test_verify_shows_that_module_library_and_the_next_kernel_agree(driven: Boxes, host: str) -> None:
    rungs = {rung["rung"]: rung for rung in driven.verify(host).report["rungs"]}
    kernel = driven.sh(host, "uname -r").strip()
    assert rungs["driver"]["status"] == "passed"
    assert rungs["driver"]["evidence"] == (
        f"loaded module {NEW} (open) = library {NEW} = module for kernel {kernel}, which boots next"
    )
    assert rungs["gpus"]["status"] == "passed"


@mostly(UBUNTU)
def test_another_branch_needs_consent_and_stops_the_engine_around_it(busy: Boxes, host: str) -> None:
    before = pid(busy, host)
    failure = busy.refused(host, "--without-consent", code=2, nvidia_driver_version="595")
    (need,) = failure["consent"]
    assert need.startswith(f"stop vllm.service, and replace the driver {NEW} that is loaded by 595")
    assert (busy.loaded(host), pid(busy, host)) == (NEW, before)

    busy.apply(host, nvidia_driver_version="595")
    assert busy.loaded(host) == NEXT
    assert pid(busy, host) != before
    held_now = busy.sh(host, "apt-mark showhold 2> /dev/null || cat /etc/dnf/plugins/versionlock.list")
    assert "nvidia-dkms-open" in held_now or f"kmod-nvidia-open-dkms-3:{NEXT}" in held_now

    # And back, which is a downgrade.
    busy.apply(host)
    assert busy.loaded(host) == NEW


@mostly(ROCKY)
def test_an_upgrade_that_does_not_compile_brings_the_old_driver_back(busy: Boxes, host: str) -> None:
    before, engine = busy.packages(host), pid(busy, host)
    with busy.broken(host, boot=False, dkms=f"fail-{NEWEST}"):
        failure = busy.refused(host, nvidia_driver_version=NEWEST)
    assert "DKMS cannot build its modules" in failure["message"]
    assert busy.packages(host) == before
    assert busy.loaded(host) == NEW
    assert pid(busy, host) != engine
    assert busy.apply(host).report["changed"] == 0


@mostly(UBUNTU)
def test_a_process_that_holds_the_gpu_is_named_where_no_reboot_may_follow(held: Boxes, host: str) -> None:
    before = held.packages(host)
    failure = held.refused(host, nvidia_driver_version="595", nvidia_driver_reboot="never")
    assert "sleep (process " in failure["message"]
    assert "somebody.service) uses /dev/nvidia0" in failure["message"]
    assert (held.loaded(host), held.packages(host)) == (NEW, before)


@mostly(UBUNTU)
def test_an_unattended_upgrade_is_seen_and_taken_back(driven: Boxes, host: str) -> None:
    driven.sh(host, UPGRADES[host])
    rungs = {rung["rung"]: rung for rung in driven.verify(host, code=1).report["rungs"]}
    assert rungs["driver"]["status"] == "failed"
    assert f"the loaded NVIDIA kernel module is {NEW} and its library {NEWEST}" in rungs["driver"]["evidence"]
    driven.apply(host)
    assert driven.verify(host).code == 0
    assert driven.loaded(host) == NEW


@mostly(ROCKY)
def test_a_fabric_manager_of_another_version_is_brought_to_the_drivers(driven: Boxes, host: str) -> None:
    listed = FABRICS[host]
    with driven.broken(host, nvswitches=4):
        driven.apply(host)
        assert NEW in driven.sh(host, listed)
        driven.sh(host, f"{INSTALL[host]} nvidia-fabricmanager{EXACTLY[host].format(NEWEST)}")
        assert NEWEST in driven.sh(host, listed)
        driven.apply(host)
        assert NEW in driven.sh(host, listed)
        driven.wait(host, "systemctl is-active nvidia-fabricmanager", "the fabric manager runs")
        assert driven.apply(host).report["changed"] == 0


@mostly(UBUNTU)
def test_a_gpu_that_the_driver_does_not_offer(driven: Boxes, host: str) -> None:
    with driven.broken(host, gpus=2, missing=1):
        rungs = {rung["rung"]: rung for rung in driven.verify(host, code=1).report["rungs"]}
    assert rungs["gpus"]["status"] == "failed"
    assert "1 of the 2 on the PCI bus" in rungs["gpus"]["evidence"]


@mostly(ROCKY)
def test_an_xid_since_boot(driven: Boxes, host: str) -> None:
    with driven.broken(host, xid=79):
        rungs = {rung["rung"]: rung for rung in driven.verify(host, code=1).report["rungs"]}
    assert "Xid 79" in rungs["gpus"]["evidence"]


@mostly(UBUNTU)
def test_a_driver_that_hangs_is_a_finding_and_holds_nothing(driven: Boxes, host: str) -> None:
    with driven.broken(host, boot=False, hang=1):
        failure = driven.refused(host, host_base_driver_timeout=3)
    assert failure["message"].startswith("the NVIDIA driver hangs: NVML did not answer within")


@mostly(ROCKY)
def test_a_new_kernel_gets_its_module_before_it_boots(driven: Boxes, host: str) -> None:
    release = driven.simulation.install_kernel(host, "newest", lab=lab_of(host))
    # Where its headers are there, DKMS has built the module at once.
    driven.sh(host, f"dkms uninstall {MODULES[host]}/{NEW} -k {release} 2> /dev/null || true")
    assert driven.sh(host, f"modinfo -k {release} -F version nvidia 2> /dev/null || true") == ""
    rungs = {rung["rung"]: rung for rung in driven.verify(host, code=1).report["rungs"]}
    assert f"kernel {release}, which boots next, has no module" in rungs["driver"]["evidence"]
    driven.apply(host)
    assert driven.sh(host, f"modinfo -k {release} -F version nvidia").strip() == NEW
    lab.reboot(host, lab=lab_of(host))
    assert driven.sh(host, "uname -r").strip() == release
    assert driven.loaded(host) == NEW
    assert "nouveau" not in driven.sh(host, "lsmod")
    assert driven.apply(host).report["changed"] == 0


@only(UBUNTU)
def test_a_reboot_that_did_not_happen(held: Boxes, host: str) -> None:
    with held.broken(host, boot=False, reboot="ignored"):
        failure = held.refused(host, nvidia_driver_version="595", nvidia_driver_reboot_timeout=15)
    assert "answers but has not rebooted" in failure["message"]
    # A real one afterwards is all that is missing.
    lab.reboot(host, lab=lab_of(host))
    held.apply(host, nvidia_driver_version="595")
    assert held.loaded(host) == NEXT


@only(ROCKY)
def test_a_reboot_that_ends_a_process_which_held_the_gpu(held: Boxes, host: str) -> None:
    before = lab.boot_time(host, lab=lab_of(host))
    held.apply(host, nvidia_driver_version="595")
    assert lab.boot_time(host, lab=lab_of(host)) != before
    assert held.loaded(host) == NEXT


@only(ROCKY)
def test_a_host_that_never_comes_back(held: Boxes, host: str) -> None:
    held.state(host, reboot="never")
    failure = held.refused(host, nvidia_driver_version="595", nvidia_driver_reboot_timeout=20)
    held.state(host, reboot=None)
    assert "did not come back within 20 s" in failure["message"]
    assert "console" in failure["message"]
    held.wait(
        host, "systemctl is-active --quiet ssh || systemctl is-active --quiet sshd", "it came back at last"
    )
    assert held.apply(host, nvidia_driver_version="595").report["changed"] == 0
    assert held.loaded(host) == NEXT


@mostly(ROCKY)
def test_removal_leaves_no_trace_of_the_driver(driven: Boxes, host: str) -> None:
    driven.remove(host)
    assert not [name for name in driven.packages(host) if "nvidia" in name]
    assert driven.loaded(host) == ""
    left = "ls /etc/modprobe.d/*provision* /etc/{apt/*,yum.repos.d}/*provision* 2> /dev/null || true"
    assert driven.sh(host, left) == ""
    assert "provision" not in driven.sh(
        host, "cat /etc/dnf/plugins/versionlock.list 2> /dev/null; apt-mark showhold || true"
    )


@only(UBUNTU)
def test_a_removal_after_a_run_that_was_killed_takes_its_driver_too(driven: Boxes, host: str) -> None:
    running = driven.start(host, nvidia_driver_version="595")
    try:
        driven.wait(host, "systemctl is-active provision-job-driver", "the change has begun", 120)
    finally:
        running.kill()
        running.communicate()
    driven.remove(host)
    assert not [name for name in driven.packages(host) if "nvidia" in name]
    assert driven.loaded(host) == ""


@only(UBUNTU)
def test_a_driver_moves_from_the_installer_to_the_distribution(boxes: Boxes, host: str) -> None:
    """The last of this file: the host has no driver any more."""
    if "nvidia" in "".join(boxes.packages(host)):
        boxes.remove(host)
    sha256 = boxes.hash_of_runfile(OLD)
    words: dict[str, Any] = {"nvidia_driver_source": "runfile", "nvidia_driver_version": OLD}
    boxes.apply(host, nvidia_driver_runfile_sha256=sha256, **words)
    assert boxes.loaded(host) == OLD
    assert boxes.apply(host, nvidia_driver_runfile_sha256=sha256, **words).report["changed"] == 0

    words = {"nvidia_driver_source": "distribution", "nvidia_driver_version": "580"}
    failure = boxes.refused(host, "--without-consent", code=2, **words)
    removal = f"remove driver {OLD} of source runfile before 580 is installed from distribution"
    assert failure["consent"][0] == removal
    boxes.apply(host, **words)
    assert boxes.sh(host, "ls /usr/bin/nvidia-uninstall 2> /dev/null || true") == ""
    assert boxes.sh(host, "modinfo -k $(uname -r) -F signer nvidia") != ""
    assert boxes.apply(host, **words).report["changed"] == 0
