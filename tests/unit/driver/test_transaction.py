# SPDX-License-Identifier: Apache-2.0
"""Which version is taken, what is held, and what a transaction may not touch."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.provision.driver import hold, transaction
from ansible.module_utils.provision.driver.transaction import USER
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.packages import Apt, Changes, Dnf, Manager, apt, dnf
from ansible.module_utils.provision.host.packages.advice import advice

from tests.unit.fakes import Answers


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> Answers:
    return Answers(monkeypatch)


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
    assert transaction.choose_version(offered, wanted) == taken


@pytest.mark.parametrize(("known", "ours", "theirs"), [(True, ["580.2-1"], ["580.1-1"]), (False, None, None)])
def test_versions_are_those_of_the_repository_that_is_used(
    programs: Answers,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    known: bool,
    ours: object,
    theirs: object,
) -> None:
    monkeypatch.setattr(apt, "SOURCES", tmp_path)
    if known:
        (tmp_path / "provision-nvidia.sources").write_text("Types: deb\nURIs: https://mirror/ubuntu2404/\n")
    programs.answer(
        "apt-cache madison nvidia-utils-580",
        " nvidia-utils-580 | 580.2-1 | https://mirror/ubuntu2404  Packages\n"
        " nvidia-utils-580 | 580.1-1 | https://archive noble/restricted amd64 Packages\n",
    )
    every = ["580.2-1", "580.1-1"]
    assert transaction.offered(Apt(), "nvidia-utils-580", ours=True) == (ours or every)
    assert transaction.offered(Apt(), "nvidia-utils-580", ours=False) == (theirs or every)


@pytest.mark.parametrize(
    ("name", "branches"),
    [
        ("libnvidia-compute-570", ["libnvidia-compute", "libnvidia-compute-580"]),
        ("libnvidia-compute", ["libnvidia-compute", "libnvidia-compute-580"]),
        ("libnvidia-compute-570-server", ["libnvidia-compute-535-server"]),
    ],
)
def test_branches_of_apt_are_packages(programs: Answers, name: str, branches: list[str]) -> None:
    known = ("libnvidia-compute-580", "libnvidia-compute", "libnvidia-compute-535-server", "libnvidia-cfg1")
    programs.answer("apt-cache pkgnames libnvidia-compute", "\n".join(known[:3]))
    assert transaction.branches(Apt(), name) == branches


def test_branches_of_dnf_share_a_name(programs: Answers) -> None:
    programs.answer("dnf -q repoquery", "nvidia-driver-cuda\nnvidia-driver-cuda-libs\nnvidia-driver-cuda\n")
    assert transaction.branches(Dnf(), "nvidia-driver-cuda") == ["nvidia-driver-cuda"]


def test_a_stream_is_enabled_once(programs: Answers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stream = tmp_path / "nvidia-driver.module"
    monkeypatch.setattr(transaction, "STREAM_FILE", stream)
    programs.answer("dnf -q module list", "nvidia-driver latest-dkms\nnvidia-driver open-dkms\n")
    transaction.enable_stream(Dnf(), ())
    assert programs.ran == []
    transaction.enable_stream(Dnf(), ("580-open", "open-dkms"))
    assert programs.ran[1:] == ["dnf -y module enable nvidia-driver:open-dkms"]
    stream.write_text("[nvidia-driver]\nstream=open-dkms\nstate=enabled\n")
    transaction.enable_stream(Dnf(), ("580-open", "open-dkms"))
    assert len(programs.ran) == 3
    with pytest.raises(Fault, match="none of the module streams 595-open"):
        transaction.enable_stream(Dnf(), ("595-open",))
    transaction.reset_stream(Dnf())
    assert programs.ran[-1] == "dnf -y module reset nvidia-driver"


def test_pins_keep_a_whole_driver_together() -> None:
    text = transaction.pins("580.159.04")
    assert "Pin: version 580.159.04-*\nPin-Priority: 1001\n" in text
    assert "Package: *nvidia* libcuda1*" in text


@pytest.mark.parametrize(
    ("gone", "come", "words"),
    [
        ({"xserver-xorg-core"}, set(), "would remove xserver-xorg-core"),
        (
            set(),
            {"linux-image-6.11.0-9-generic"},
            "would install another kernel: linux-image-6.11.0-9-generic",
        ),
        (set(), {"kernel-core"}, "would install another kernel: kernel-core"),
    ],
)
def test_a_transaction_leaves_kernels_and_strangers_alone(gone: set[str], come: set[str], words: str) -> None:
    with pytest.raises(Fault, match=words):
        transaction.refuse_strangers(Changes(frozenset(come), frozenset(gone)))


def test_a_transaction_may_bring_a_driver_and_headers() -> None:
    come = frozenset({"nvidia-dkms-580-open", "linux-headers-6.8.0-9"})
    transaction.refuse_strangers(Changes(come, frozenset({"nvidia-dkms-570-open"})))


def test_a_driver_is_not_removed_under_what_needs_it(programs: Answers) -> None:
    programs.answer("apt-get -s purge", "Purg nvidia-utils-580 [1]\nRemv simulation [1]\n")
    with pytest.raises(Fault, match="removing the driver would remove simulation"):
        transaction.remove(Apt(), ["nvidia-utils-580"])
    programs.answer("apt-get -s purge", "Purg nvidia-utils-580 [1]\n")
    transaction.remove(Apt(), ["nvidia-utils-580"])
    assert any(line.startswith("apt-get purge -y ") for line in programs.ran)


PACKAGES = {
    "nvidia-dkms-580-open": "580.159.04-1ubuntu1",
    "linux-image-6.8.0-90-generic": "6.8.0-90.91",
    "linux-headers-generic": "6.8.0-90.91",
    "bash": "5.2",
}


def test_apt_holds_driver_and_kernel() -> None:
    assert hold.wanted(Apt(), PACKAGES) == [
        "linux-headers-generic",
        "linux-image-6.8.0-90-generic",
        "nvidia-dkms-580-open",
    ]


def test_dnf_locks_driver_and_kernel_by_their_whole_version() -> None:
    packages = {
        "nvidia-driver-cuda": "3:580.159.04-1.el9",
        "kernel-core": "0:5.14.0-570.12.1.el9_6",
        "kernel-tools": "0:5.14.0-570.12.1.el9_6",
    }
    assert hold.wanted(Dnf(), packages) == [
        "kernel-core-0:5.14.0-570.12.1.el9_6.*",
        "nvidia-driver-cuda-3:580.159.04-1.el9.*",
    ]


@pytest.fixture
def locks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(dnf, "VERSIONLOCK", tmp_path / "versionlock.list")
    monkeypatch.setattr(hold, "LEDGER", tmp_path / "holds.json")
    monkeypatch.setattr(hold, "UNATTENDED", str(tmp_path / "unattended"))
    return tmp_path / "versionlock.list"


def test_locks_of_others_stay(programs: Answers, locks: Path) -> None:
    packages: Manager = Dnf(USER)
    locks.write_text("# by hand\npostgresql-0:16.1-1.el9.*\n")
    programs.answer("rpm -qa", "kernel-core|0:5.14.0-1.el9\n")
    hold.hold(packages)
    assert hold.missing(packages) == []
    assert locks.read_text() == (
        "# by hand\npostgresql-0:16.1-1.el9.*\n"
        "# provision: driver and kernel as a pair\nkernel-core-0:5.14.0-1.el9.*\n"
    )
    # As `dnf versionlock add` and `delete` leave the file: a line at its end, and no comment.
    locks.write_text("postgresql-0:16.1-1.el9.*\nkernel-core-0:5.14.0-1.el9.*\nhaproxy-0:2.4-1.el9.*\n")
    programs.answer("rpm -qa", "kernel-core|0:5.14.0-2.el9\n")
    hold.hold(packages)
    assert locks.read_text() == (
        "postgresql-0:16.1-1.el9.*\nhaproxy-0:2.4-1.el9.*\n"
        "# provision: driver and kernel as a pair\nkernel-core-0:5.14.0-2.el9.*\n"
    )
    hold.release(packages)
    assert locks.read_text() == "postgresql-0:16.1-1.el9.*\nhaproxy-0:2.4-1.el9.*\n"
    assert not hold.LEDGER.exists()


def test_only_the_kernel_is_held_while_the_driver_changes(programs: Answers, locks: Path) -> None:
    programs.answer("rpm -qa", "kernel-core|0:5.14.0-1.el9\nnvidia-driver-cuda|3:580.159.04-1.el9\n")
    hold.hold_kernel(Dnf(USER))
    assert Dnf().held() == ["kernel-core-0:5.14.0-1.el9.*"]
    hold.hold_kernel(Apt(USER))
    assert not locks.with_name("unattended").exists()


def test_apt_holds_what_no_one_else_holds_and_keeps_unattended_upgrades_off(
    programs: Answers, locks: Path
) -> None:
    programs.answer("dpkg-query", "ii |nvidia-dkms-580-open|580-1\nii |linux-headers-generic|6.8\n")
    programs.answer("apt-mark showhold", "linux-headers-generic\n")
    hold.hold(Apt(USER))
    assert programs.ran[-1] == "apt-mark hold nvidia-dkms-580-open"
    assert '"nvidia-.*";' in locks.with_name("unattended").read_text()
    assert hold.LEDGER.read_text() == '[\n "nvidia-dkms-580-open"\n]\n'
    programs.answer("apt-mark showhold", "linux-headers-generic\nnvidia-dkms-580-open\n")
    hold.release(Apt(USER))
    assert programs.ran[-1] == "apt-mark unhold nvidia-dkms-580-open"
    assert not locks.with_name("unattended").exists()


def test_a_driver_that_moved_by_itself_is_seen(programs: Answers, locks: Path) -> None:
    locks.write_text("nvidia-driver-cuda-3:580.105.08-1.el9.*\n")
    programs.answer("rpm -qa", "nvidia-driver-cuda|3:580.159.04-1.el9\n")
    assert hold.missing(Dnf()) == ["nvidia-driver-cuda-3:580.159.04-1.el9.*"]


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
    assert step in advice(said, USER.unit, USER.steps)
