# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.provision.gpu import xid as nvidia_xid

# As the driver writes them: with and without PCI, with and without a program.
BUS = "[ 4021.114821] NVRM: Xid (PCI:0000:1B:00): 79, pid=8812, name=python3, GPU has fallen off the bus."
FAULT = (
    "[   93.500000] NVRM: Xid (PCI:0000:3b:00): 31, pid=71, name=vllm, Ch 00000008, intr 00000000. MMU Fault"
)
OLD = "NVRM: Xid (0000:03:00): 14, Channel 00000001"
BARE = "[   12.000000] NVRM: Xid (PCI:0000:3b:00): 45"
LOADING = "[ 5000.000000] NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build"
KERNEL = "[    0.000000] Linux version 6.8.0-90-generic"


@pytest.fixture
def dmesg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program in place of the host's own; what it prints is beside it."""
    program = tmp_path / "dmesg"
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/log\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "log"


def test_reads_time_place_number_and_text() -> None:
    bus, fault, old, bare = nvidia_xid.parse(f"{BUS}\n{FAULT}\n[1.0] usb 1-1: new device\n{OLD}\n{BARE}")
    assert bus == {
        "time": 4021.114821,
        "slot": "0000:1b:00.0",
        "xid": 79,
        "text": "pid=8812, name=python3, GPU has fallen off the bus.",
        "count": 1,
        "past": False,
    }
    assert (fault["slot"], fault["xid"], fault["time"]) == ("0000:3b:00.0", 31, 93.5)
    assert (old["slot"], old["xid"], old["text"], old["time"]) == (
        "0000:03:00.0",
        14,
        "Channel 00000001",
        None,
    )
    assert (bare["xid"], bare["text"]) == (45, "")


def test_a_storm_of_one_kind_is_one_entry_with_its_last_line() -> None:
    later = FAULT.replace("93.5", "99.5")
    (found,) = nvidia_xid.parse("\n".join([FAULT] * 5000 + [later]))
    assert (found["count"], found["time"]) == (5001, 99.5)
    (long,) = nvidia_xid.parse(BARE + ", " + "x" * 5000)
    assert len(long["text"]) == nvidia_xid.TEXT_LIMIT


def test_what_an_earlier_load_of_the_driver_has_seen_is_past() -> None:
    again = BUS.replace("4021", "6000")
    found = nvidia_xid.parse(f"{FAULT}\n{BUS}\n{LOADING}\n{again}")
    assert [(one["xid"], one["past"]) for one in found] == [(31, True), (79, False)]


def test_reads_the_kernels_log_and_tells_whether_it_is_whole(dmesg: Path) -> None:
    dmesg.write_text(f"{KERNEL}\n{FAULT}\n{BUS}\n")
    found = nvidia_xid.since_boot()
    assert [one["xid"] for one in found["errors"]] == [31, 79]
    assert (found["whole"], found["problem"]) == (True, None)
    dmesg.write_text(f"{BUS}\n")
    assert nvidia_xid.since_boot()["whole"] is False


def test_a_container_counts_its_own_gpus_only(dmesg: Path) -> None:
    dmesg.write_text(f"{FAULT}\n{BUS}\n")
    assert [one["xid"] for one in nvidia_xid.since_boot(["0000:1b:00.0"])["errors"]] == [79]
    assert nvidia_xid.since_boot([])["errors"] == []


def test_a_log_that_cannot_be_read_or_hangs_is_no_clean_one(
    dmesg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = dmesg.with_name("dmesg")
    program.write_text(
        "#!/bin/sh\necho 'dmesg: read kernel buffer failed: Operation not permitted' >&2; exit 1\n"
    )
    found = nvidia_xid.since_boot()
    assert (
        found["problem"] == "dmesg shows nothing: dmesg: read kernel buffer failed: Operation not permitted"
    )
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(nvidia_xid, "DMESG_SECONDS", 0.2)
    assert nvidia_xid.since_boot()["problem"] == "dmesg did not end within 0.2 s"
    program.unlink()
    monkeypatch.setenv("PATH", str(dmesg.parent))
    assert nvidia_xid.since_boot()["problem"] == "dmesg is not installed on this host"


@pytest.mark.parametrize("xid", [13, 31, 43, 45, 63, 92, 94])
def test_what_the_catalogue_answers_by_a_restart_or_not_at_all_is_harmless(xid: int) -> None:
    assert not nvidia_xid.meaning(xid).harmful


@pytest.mark.parametrize("xid", [48, 61, 62, 64, 74, 79, 95, 119, 120, 140, 4711])
def test_what_needs_a_reset_or_more_is_harmful(xid: int) -> None:
    assert nvidia_xid.meaning(xid).harmful


def test_every_meaning_can_be_shown_with_a_slot() -> None:
    for meaning in nvidia_xid.TABLE.values():
        assert "{" not in meaning.next_step.format(slot="0000:1b:00.0")
        assert meaning.text[0].islower()
