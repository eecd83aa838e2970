# SPDX-License-Identifier: Apache-2.0
"""One run at a time changes a host, and a run that died locks no one out."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.provision.host import lock
from ansible.module_utils.provision.host.fault import Fault


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lock, "FOLDER", tmp_path / "lock")
    monkeypatch.setattr(lock, "ENDING_SECONDS", 0.1)
    monkeypatch.setattr(lock, "login_user", os.getuid)
    return tmp_path / "lock"


def age(folder: Path, seconds: float) -> None:
    """Let the last heartbeat be so long ago."""
    os.utime(folder / "holder", (time.time() - seconds,) * 2)


@pytest.mark.usefixtures("folder")
def test_a_second_run_is_refused_and_told_who_has_the_host() -> None:
    token, warning = lock.take("first", "alice on one", "apply")
    assert (len(token), warning) == (32, "")
    with pytest.raises(Fault) as refused:
        lock.take("second", "bob on two", "remove")
    assert "run first of alice on one (apply, since " in str(refused.value)
    assert "last heartbeat 0 s ago" in str(refused.value)
    assert "Ctrl-C" in refused.value.next_step
    assert lock.noticed().startswith("this host is being changed by run first")
    assert lock.holder()["run"] == "first"


@pytest.mark.usefixtures("folder")
def test_a_run_may_take_its_own_lock_again_as_after_a_reboot() -> None:
    first, _ = lock.take("first", "alice on one", "apply")
    again, warning = lock.take("first", "alice on one", "apply")
    assert first != again
    assert warning == ""


def test_a_run_that_died_is_taken_over_with_a_word_about_it(folder: Path) -> None:
    lock.take("first", "alice on one", "apply")
    age(folder, lock.STALE_SECONDS + 5)
    assert lock.noticed() == ""
    _, warning = lock.take("second", "bob on two", "apply")
    assert warning.startswith("took over the host from run first of alice on one (apply, since ")
    assert lock.holder()["run"] == "second"


def test_a_run_that_is_just_ending_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock.take("first", "alice on one", "apply")
    monkeypatch.setattr(lock, "ENDING_SECONDS", 30)
    monkeypatch.setattr("time.sleep", lambda _: (folder / "holder").unlink())
    assert lock.take("second", "bob on two", "apply")[1] == ""


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"run": "x"}'])
def test_a_damaged_lock_is_no_ones(folder: Path, text: str) -> None:
    lock.take("first", "alice on one", "apply")
    (folder / "holder").write_text(text)
    assert lock.noticed() == ""
    assert lock.take("second", "bob on two", "apply")[1] == ""


@pytest.fixture
def heartbeat(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the heartbeat of a lock as sshd starts it, beating faster."""
    token, _ = lock.take("first", "alice on one", "apply")
    text = lock.HEARTBEAT.replace("/run/provision/lock", str(folder))
    text = text.replace(f"sleep {lock.BEAT_SECONDS}", "sleep 0.05")
    process = subprocess.Popen(
        ["sh", "-c", text, token],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    yield process
    process.communicate(timeout=10)


def until(condition: str, folder: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = lock.holder()
        if (condition == "fresh" and found and time.time() - found["beat"] < 5) or (
            condition == "gone" and not (folder / "holder").exists()
        ):
            return
        time.sleep(0.02)
    pytest.fail(f"the lock is not {condition}")


def test_the_heartbeat_keeps_the_lock_and_removes_it_when_its_input_ends(
    folder: Path, heartbeat: subprocess.Popen[bytes]
) -> None:
    age(folder, 3600)
    until("fresh", folder)
    assert heartbeat.stdin
    heartbeat.stdin.close()
    heartbeat.stdin = None
    until("gone", folder)


def test_the_heartbeat_leaves_the_lock_of_another_run_alone(
    folder: Path, heartbeat: subprocess.Popen[bytes]
) -> None:
    age(folder, 3600)
    until("fresh", folder)
    age(folder, 3600)
    (folder / "holder").unlink()
    lock.take("second", "bob on two", "apply")
    heartbeat.communicate(timeout=10)
    assert lock.holder()["run"] == "second"


def test_csh_can_pass_the_heartbeat_on() -> None:
    """It replaces what follows an exclamation mark even within single quotes."""
    assert "!" not in lock.HEARTBEAT
    assert "\n" not in lock.HEARTBEAT
    assert "'" not in lock.HEARTBEAT


def test_the_user_who_logged_in_is_found_above_sudo(tmp_path: Path) -> None:
    for process, user, parent in ((9, 0, 8), (8, 0, 7), (7, 1000, 6), (6, 0, 1)):
        (tmp_path / str(process)).mkdir()
        text = f"Name:\tx\nUid:\t{user}\t{user}\t{user}\t{user}\nPPid:\t{parent}\n"
        (tmp_path / str(process) / "status").write_text(text)
    assert lock.login_user("9", tmp_path) == 1000
    assert lock.login_user("6", tmp_path) == 0
