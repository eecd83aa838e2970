# SPDX-License-Identifier: Apache-2.0
"""Which version is taken, what is held, and what a transaction may not touch."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.provision.driver import hold, managers, process
from ansible.module_utils.provision.host.fault import Fault


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ("580", "580.178.04-1ubuntu1"),
        ("580.65.06", "580.65.06-0ubuntu1"),
        ("580.65", "580.65.06-0ubuntu1"),
        ("595", "595.84-1ubuntu1"),
        ("58", None),
        ("610", None),
    ],
)
def test_the_newest_version_of_what_is_asked_for(wanted: str, taken: str | None) -> None:
    offered = [
        "595.84-1ubuntu1",
        "580.65.06-0ubuntu1",
        "580.178.04-1ubuntu1",
        "580.105.08-1ubuntu1",
        "1.20.1-1",
    ]
    assert managers.choose_version(offered, wanted.split(".")) == taken


def test_versions_of_dnf_are_read_however_it_breaks_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    text = """Available Packages
nvidia-driver-cuda.x86_64      3:580.105.08-1.el9     provision-nvidia
nvidia-driver-cuda.x86_64
                               3:580.159.04-1.el9     provision-nvidia
"""
    monkeypatch.setattr(managers, "_said", lambda *_: text)
    versions = managers.DnfDriver().versions("nvidia-driver-cuda")
    assert versions == ["3:580.159.04-1.el9", "3:580.105.08-1.el9"]


@pytest.mark.parametrize(
    ("name", "branches"),
    [
        ("libnvidia-compute-570", ["libnvidia-compute", "libnvidia-compute-580"]),
        ("libnvidia-compute", ["libnvidia-compute", "libnvidia-compute-580"]),
        ("libnvidia-compute-570-server", ["libnvidia-compute-535-server"]),
    ],
)
def test_branches_of_apt_are_packages(
    monkeypatch: pytest.MonkeyPatch, name: str, branches: list[str]
) -> None:
    known = ("libnvidia-compute-580", "libnvidia-compute", "libnvidia-compute-535-server", "libnvidia-cfg1")

    def said(*argv: str) -> str:
        assert argv[:2] == ("apt-cache", "pkgnames")
        return "".join(f"{each}\n" for each in known if each.startswith(argv[2]))

    monkeypatch.setattr(managers, "_said", said)
    assert managers.AptDriver().branches(name) == branches


def test_pins_keep_a_whole_driver_together() -> None:
    text = managers.pins("580.159.04")
    assert "Pin: version 580.159.04-*\nPin-Priority: 1001\n" in text
    assert "Package: *nvidia* libcuda1*" in text


@pytest.mark.parametrize(
    ("gone", "come", "words"),
    [
        ({"xserver-xorg-core"}, set(), "would remove xserver-xorg-core"),
        (set(), {"linux-image-6.11.0-9-generic"}, "would bring another kernel: linux-image-6.11.0-9-generic"),
        (set(), {"kernel-core"}, "would bring another kernel: kernel-core"),
    ],
)
def test_a_transaction_leaves_kernels_and_strangers_alone(gone: set[str], come: set[str], words: str) -> None:
    with pytest.raises(Fault, match=words):
        managers.refuse_strangers(gone, come)


def test_a_transaction_may_bring_a_driver_and_headers() -> None:
    managers.refuse_strangers({"nvidia-dkms-570-open"}, {"nvidia-dkms-580-open", "linux-headers-6.8.0-9"})


DNF_SAYS = """\
Dependencies resolved.
================================================================================
 Package                Arch    Version             Repository             Size
================================================================================
Removing:
 nvidia-driver-cuda     x86_64  3:580.159.04-1.el9  @provision-nvidia      10 k
 kmod-nvidia-open-dkms-of-a-long-name
                        noarch  3:580.159.04-1.el9  @provision-nvidia      10 k
Removing dependent packages:
 simulation             x86_64  1.0-1.el9           @ours                  10 k

Transaction Summary
================================================================================
Remove  3 Packages
"""


def test_what_dnf_would_remove_is_read_from_its_table() -> None:
    found = managers.removals(DNF_SAYS)
    assert found == ["nvidia-driver-cuda", "kmod-nvidia-open-dkms-of-a-long-name", "simulation"]


PACKAGES = {
    "nvidia-dkms-580-open": "580.159.04-1ubuntu1",
    "linux-image-6.8.0-90-generic": "6.8.0-90.91",
    "linux-headers-generic": "6.8.0-90.91",
    "bash": "5.2",
}


def test_apt_holds_driver_and_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold.shutil, "which", lambda _: "/usr/bin/apt-get")
    assert hold.wanted(PACKAGES) == [
        "linux-headers-generic",
        "linux-image-6.8.0-90-generic",
        "nvidia-dkms-580-open",
    ]


def test_dnf_locks_driver_and_kernel_by_their_whole_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold.shutil, "which", lambda _: None)
    packages = {
        "nvidia-driver-cuda": "3:580.159.04-1.el9",
        "kernel-core": "0:5.14.0-570.12.1.el9_6",
        "kernel-tools": "0:5.14.0-570.12.1.el9_6",
    }
    assert hold.wanted(packages) == [
        "kernel-core-0:5.14.0-570.12.1.el9_6.*",
        "nvidia-driver-cuda-3:580.159.04-1.el9.*",
    ]


def test_locks_of_others_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    locks, ledger = tmp_path / "versionlock.list", tmp_path / "holds.json"
    locks.write_text("# by hand\npostgresql-0:16.1-1.el9.*\n")
    monkeypatch.setattr(hold.shutil, "which", lambda _: None)
    monkeypatch.setattr(hold, "VERSIONLOCK", locks)
    monkeypatch.setattr(hold, "LEDGER", ledger)
    monkeypatch.setattr(hold, "listed", lambda: {"kernel-core": "0:5.14.0-1.el9"})
    hold.hold()
    assert hold.missing() == []
    assert locks.read_text() == (
        "# by hand\npostgresql-0:16.1-1.el9.*\n"
        "# provision: driver and kernel as a pair\nkernel-core-0:5.14.0-1.el9.*\n"
    )
    # As `dnf versionlock add` and `delete` leave the file: a line at its end, and no comment.
    locks.write_text("postgresql-0:16.1-1.el9.*\nkernel-core-0:5.14.0-1.el9.*\nhaproxy-0:2.4-1.el9.*\n")
    monkeypatch.setattr(hold, "listed", lambda: {"kernel-core": "0:5.14.0-2.el9"})
    hold.hold()
    assert locks.read_text() == (
        "postgresql-0:16.1-1.el9.*\nhaproxy-0:2.4-1.el9.*\n"
        "# provision: driver and kernel as a pair\nkernel-core-0:5.14.0-2.el9.*\n"
    )
    hold.release()
    assert locks.read_text() == "postgresql-0:16.1-1.el9.*\nhaproxy-0:2.4-1.el9.*\n"
    assert not ledger.exists()


def test_a_driver_that_moved_by_itself_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    locks = tmp_path / "versionlock.list"
    locks.write_text("nvidia-driver-cuda-3:580.105.08-1.el9.*\n")
    monkeypatch.setattr(hold.shutil, "which", lambda _: None)
    monkeypatch.setattr(hold, "VERSIONLOCK", locks)
    monkeypatch.setattr(hold, "listed", lambda: {"nvidia-driver-cuda": "3:580.159.04-1.el9"})
    assert hold.missing() == ["nvidia-driver-cuda-3:580.159.04-1.el9.*"]


@pytest.mark.parametrize(
    ("said", "step"),
    [
        ("W: GPG error: NO_PUBKEY A4B469963BF863CC", "nvidia_driver_repository_keys"),
        ("Error: GPG check FAILED", "nvidia_driver_repository_keys"),
        ("All matches were filtered out by modular filtering for argument", "dnf module list nvidia-driver"),
        ("dpkg: error: No space left on device", "free space"),
        ("Could not resolve 'mirror'", "nvidia_driver_repository to a mirror"),
        ("something else", "journalctl -u provision-job-driver"),
    ],
)
def test_a_failure_names_its_remedy(said: str, step: str) -> None:
    assert step in process.advice(said)
