# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.provision.host import facts as host_facts

from tests.unit.fakes import Programs, Said

ROCKY_8 = 'VERSION_ID="8.10"\nID="rocky"\nID_LIKE="rhel centos fedora"\nPRETTY_NAME="Rocky Linux 8.10"'
ROCKY_10 = 'ID="rocky"\nVERSION_ID="10.0"\nID_LIKE="rhel"\nNAME="Rocky Linux"\n'
UBUNTU = "PRETTY_NAME='Ubuntu 24.04.1 LTS'\nID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\n# comment\n\n"
DEBIAN_SID = 'ID=debian\nPRETTY_NAME="Debian GNU/Linux forky/sid"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ROCKY_8, ("rocky", "8.10", 8, "redhat", "Rocky Linux 8.10")),
        (ROCKY_10, ("rocky", "10.0", 10, "redhat", "Rocky Linux")),
        (UBUNTU, ("ubuntu", "24.04", 24, "debian", "Ubuntu 24.04.1 LTS")),
        (DEBIAN_SID, ("debian", "", 0, "debian", "Debian GNU/Linux forky/sid")),
    ],
)
def test_reads_os_release(text: str, expected: tuple[object, ...]) -> None:
    facts = host_facts.parse_os_release(text)
    assert tuple(facts[key] for key in ("id", "version", "major", "family", "name")) == expected


def test_lists_file_systems_that_store_data() -> None:
    mounts = """overlay / overlay rw 0 0
proc /proc proc rw 0 0
/dev/sda1 /boot/efi vfat rw 0 0
/dev/sda2 /srv/big\\040disk ext4 rw 0 0
nas:/models /models nfs4 rw 0 0
/dev/vda /etc/hosts ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
broken"""
    assert host_facts.parse_mounts(mounts) == [
        ("overlay", "/"),
        ("nas:/models", "/models"),
        ("/dev/sda2", "/srv/big disk"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0100007F:1F40", ("127.0.0.1", 8000)),
        ("00000000:0016", ("0.0.0.0", 22)),
        ("00000000000000000000000001000000:0016", ("::1", 22)),
        ("B80D01200000000067452301EFCDAB89:0050", ("2001:db8::123:4567:89ab:cdef", 80)),
    ],
)
def test_reads_the_kernels_addresses(text: str, expected: tuple[str, int]) -> None:
    assert host_facts.parse_address(text) == expected


HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LISTENING = (
    "   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  997 0 4711 1 x 100 0\n"
)
CONNECTED = (
    "   1: 0100007F:1F40 0100007F:D431 01 00000000:00000000 00:00000000 00000000  997 0 4712 1 x 20 4\n"
)
ORPHAN = "   2: 00000000:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 99 1 x 100 0\n"


def test_names_the_process_behind_a_port(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(HEADER + LISTENING + CONNECTED + ORPHAN)
    for pid, name in (("812", "vllm"), ("900", "worker")):
        (tmp_path / pid / "fd").mkdir(parents=True)
        (tmp_path / pid / "comm").write_text(name + "\n")
        (tmp_path / pid / "fd/5").symlink_to("socket:[4711]")
    (tmp_path / "812/fd/0").symlink_to("/dev/null")
    assert host_facts.listening_sockets(tmp_path) == [
        {"address": "0.0.0.0", "port": 53, "pid": 0, "process": "unknown"},
        {"address": "127.0.0.1", "port": 8000, "pid": 812, "process": "vllm"},
    ]


def test_memory_in_bytes() -> None:
    assert host_facts.parse_meminfo("MemTotal:       2048 kB\nMemFree: 1 kB\n") == 2048 * 1024
    assert host_facts.parse_meminfo("") == 0


def test_a_program_that_hangs_or_is_missing_says_nothing() -> None:
    assert host_facts.run(["sleep", "5"], 0.01) == ""
    assert host_facts.run(["no-such-program"]) == ""
    assert host_facts.run(["echo", "here"]) == "here"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("1B-blocks Avail Mounted on\n 1000 400 /srv/a b", ("/srv/a b", 1000, 400)),
        ("1B-blocks Avail Mounted on\n - - /proc", None),
        ("", None),
    ],
)
def test_a_file_system_has_a_size_or_is_none(
    programs: Programs, said: str, expected: tuple[str, int, int] | None
) -> None:
    programs.add("df", said)
    found = host_facts.file_system("/srv/a b/x")
    assert (found and tuple(found.values())) == expected


def test_the_file_system_of_this_test_is_measured(tmp_path: Path) -> None:
    found = host_facts.file_system(str(tmp_path))
    assert found is not None
    assert 0 < found["free_bytes"] <= found["size_bytes"]


def test_the_first_active_time_service_counts(programs: Programs) -> None:
    programs.add("systemctl", lambda argv: Said("active" if argv[1].startswith("chrony") else "inactive"))
    assert host_facts.time_service() == "chronyd.service"
    programs.calls.clear()
    programs.add("systemctl", "inactive")
    assert host_facts.time_service() == "none"
    assert len(programs.calls) == len(host_facts.TIME_SERVICES)


@pytest.mark.parametrize(("said", "expected"), [("none", False), ("", False), ("podman", True)])
def test_knows_a_container(programs: Programs, said: str, expected: bool) -> None:
    programs.add("systemd-detect-virt", said)
    assert host_facts.is_container() is expected


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [("CapBnd:\t000001ffffffffff", True), ("CapBnd:\t00000000a80425fb", False), ("", False)],
)
def test_only_a_host_with_the_capability_sets_its_clock(
    monkeypatch: pytest.MonkeyPatch, bounds: str, expected: bool
) -> None:
    monkeypatch.setattr(host_facts, "read", lambda _: f"Name:\tx\n{bounds}\n")
    assert host_facts.can_set_clock() is expected


def test_the_start_of_the_first_process_is_known() -> None:
    fields = Path("/proc/1/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    assert host_facts.init_started() == int(fields[19])
