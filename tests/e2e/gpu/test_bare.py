# SPDX-License-Identifier: Apache-2.0
"""Faults on the way to a host's first driver: each ends in a clear message, and the host is as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from provisioner.lab.podman import connect
from tests.e2e.gpu.boxes import NEW, OLD, ROCKY, UBUNTU, Boxes, mostly, only

# Holds the lock of the package manager as apt and rpm do, until it is told to end.
HOLD_LOCK = """
import fcntl, pathlib, sys, time
stream = open(sys.argv[1], "a")
fcntl.lockf(stream, fcntl.LOCK_EX)
pathlib.Path("/run/lock-is-held").touch()
while pathlib.Path("/run/lock-is-held").exists():
    time.sleep(0.1)
"""
LOCKS = {UBUNTU: "/var/lib/dpkg/lock-frontend", ROCKY: "/var/lib/rpm/.rpm.lock"}


@pytest.fixture
def bare(boxes: Boxes, host: str) -> Iterator[Boxes]:
    """Give a host without a driver, and see that a test has left it so."""
    before = boxes.packages(host)
    assert not [name for name in before if "nvidia" in name]
    yield boxes
    left = {name for name in boxes.packages(host) if "nvidia" in name}
    assert left == set()
    assert boxes.loaded(host) == ""


@mostly(UBUNTU)
def test_a_dry_run_says_what_would_come_and_changes_nothing(bare: Boxes, host: str) -> None:
    done = bare.apply(host, "--check", "--diff")
    changes = {change["task"] for change in done.report["changes"]}
    assert {"Add NVIDIA's repository", "Install and load the driver"} <= changes
    assert (
        bare.sh(host, "ls /etc/apt/sources.list.d /etc/yum.repos.d 2> /dev/null | grep provision || true")
        == ""
    )


@mostly(ROCKY)
def test_headers_that_are_in_no_repository(bare: Boxes, host: str) -> None:
    # First of all: whatever comes further brings them, and they stay.
    with bare.without(host, "linux-headers-*" if host == UBUNTU else "kernel-devel*"):
        failure = bare.refused(host, nvidia_driver_vault="")
    assert "are in no repository" in failure["message"]
    assert "nothing of the driver was changed" in failure["message"]


@mostly(ROCKY)
def test_secure_boot_without_a_known_key_stops_before_anything_is_touched(bare: Boxes, host: str) -> None:
    with bare.broken(host, secure_boot=1):
        failure = bare.refused(host)
    assert failure["phase"] == "Preflight"
    assert failure["message"].startswith("Secure Boot is on")
    assert "mokutil --import" in failure["next"]


@only(UBUNTU)
def test_more_gpus_expected_than_there_are(bare: Boxes, host: str) -> None:
    failure = bare.refused(host, nvidia_driver_gpus_expected=4)
    assert failure["message"] == "the PCI bus shows 1 of the 4 GPUs that nvidia_driver_gpus_expected requires"


@only(UBUNTU)
def test_a_mixed_box_is_refused(bare: Boxes, host: str) -> None:
    with bare.broken(host, gpus=2, device_ids="0x1db6,0x2901"):
        failure = bare.refused(host)
    assert "a host can load only one kind" in failure["message"]


@mostly(ROCKY)
def test_a_rotated_key_of_the_repository(bare: Boxes, host: str) -> None:
    failure = bare.refused(host, nvidia_driver_repository_keys=["AB" * 20])
    assert "has the fingerprint" in failure["message"]
    assert "nvidia_driver_repository_keys" in failure["next"]


@only(UBUNTU)
def test_packages_signed_with_another_key_than_the_repositorys_own(bare: Boxes, host: str) -> None:
    copy = bare.repositories("rotated")
    keep = (copy / "nvidia/ubuntu2404/x86_64/3bf863cc.pub").read_bytes()
    bare.simulation.rotate(connect(), copy, "nvidia/ubuntu2404")
    (copy / "nvidia/ubuntu2404/x86_64/3bf863cc.pub").write_bytes(keep)
    failure = bare.refused(
        host, nvidia_driver_repository="http://hub.lab:8000/releases/vendor-rotated/nvidia/{platform}/{arch}"
    )
    assert "NO_PUBKEY" in failure["message"] or "not signed" in failure["message"]
    assert "nvidia_driver_repository_keys" in failure["next"]


@only(UBUNTU)
def test_a_run_installer_with_another_hash(bare: Boxes, host: str) -> None:
    failure = bare.refused(
        host, nvidia_driver_source="runfile", nvidia_driver_version=OLD, nvidia_driver_runfile_sha256="0" * 64
    )
    assert "expected " + "0" * 64 in failure["message"]


@mostly(ROCKY)
def test_a_lock_that_somebody_holds(bare: Boxes, host: str) -> None:
    bare.sh(host, f"cat > /run/hold.py <<'END'\n{HOLD_LOCK}\nEND\n")
    bare.sh(host, f"systemd-run --quiet --unit=holder python3 /run/hold.py {LOCKS[host]}")
    bare.wait(host, "test -e /run/lock-is-held", "somebody holds the lock")
    try:
        failure = bare.refused(host, nvidia_driver_lock_timeout=3)
    finally:
        bare.sh(host, "rm -f /run/lock-is-held")
    assert "python3 hold.py" in failure["message"]
    assert "has held the package manager's lock for 3 s" in failure["message"]


@mostly(ROCKY)
def test_a_full_boot_partition(bare: Boxes, host: str) -> None:
    bare.sh(
        host,
        "cp -a /boot /run/boot && size=$(du -sk /boot | cut -f1) && "
        "mount -t tmpfs -o size=$((size + 200))k boot /boot && cp -a /run/boot/. /boot/",
    )
    try:
        failure = bare.refused(host)
    finally:
        bare.sh(host, "umount /boot && rm -r /run/boot")
    assert "another initramfs" in failure["message"]
    assert ": /boot has 0.00 GB free" in failure["message"]
    assert failure["next"].startswith("free ")


@mostly(UBUNTU)
def test_a_module_that_does_not_compile_while_the_package_succeeds(bare: Boxes, host: str) -> None:
    before = {name for name in bare.packages(host) if "nvidia" in name}
    with bare.broken(host, boot=False, dkms="fail"):
        failure = bare.refused(host)
    assert "were installed, but DKMS cannot build its modules" in failure["message"]
    assert "error" in failure["message"]
    assert {name for name in bare.packages(host) if "nvidia" in name} == before
    assert bare.sh(host, "cat /etc/apt/preferences.d/provision-nvidia-driver 2> /dev/null || true") == ""


@only(UBUNTU)
def test_without_consent_nouveau_keeps_the_gpus(bare: Boxes, host: str) -> None:
    assert "nouveau" in bare.sh(host, "lsmod")
    failure = bare.refused(host, "--without-consent", code=2)
    assert failure["consent"] == ["reboot: nouveau uses the GPUs"]
    refused = bare.refused(host, nvidia_driver_reboot="never")
    assert refused["message"].startswith("nouveau uses the GPUs")


@only(UBUNTU)
def test_an_interrupted_dpkg_is_finished_first_and_the_driver_comes(boxes: Boxes, host: str) -> None:
    boxes.sh(host, "cd /tmp && apt-get -qq update && apt-get -qq download hello && dpkg --unpack hello_*.deb")
    assert "hello" in boxes.sh(host, "dpkg --audit")
    boxes.apply(host)
    assert boxes.sh(host, "dpkg --audit") == ""
    assert boxes.loaded(host) == NEW
    assert "nouveau" not in boxes.sh(host, "lsmod")
    report = boxes.apply(host).report
    assert report["changed"] == 0, json.dumps(report["changes"])


@only(ROCKY)
def test_headers_come_from_the_vault_and_the_driver_with_them(boxes: Boxes, host: str) -> None:
    vault = "http://hub.lab:8000/releases/vendor/distribution/rocky9/{repository}/"
    with boxes.without(host, "kernel-devel*"):
        boxes.apply(host, nvidia_driver_vault=vault)
    assert boxes.loaded(host) == NEW
    assert "state=enabled" in boxes.sh(host, "cat /etc/dnf/modules.d/nvidia-driver.module")
    report = boxes.apply(host, nvidia_driver_vault=vault).report
    assert report["changed"] == 0, json.dumps(report["changes"])
