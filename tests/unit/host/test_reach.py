# SPDX-License-Identifier: Apache-2.0
"""Whatever keeps a user out of a directory is named, with its cause."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from ansible.module_utils.provision.host import reach
from ansible.module_utils.provision.host.fault import Fault

from tests.unit.fakes import Answers, Programs, Said

USER = pwd.getpwuid(os.getuid()).pw_name


def refused(path: Path, user: str = USER, *, writable: bool = True) -> Fault:
    with pytest.raises(Fault) as found:
        reach.require(path, user, writable=writable, choice="the_variable")
    return found.value


def test_a_directory_that_can_be_used_or_created_is_accepted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs = Answers(monkeypatch)
    for path in (tmp_path, tmp_path / "not/there/yet"):
        reach.require(path, USER, writable=True, choice="the_variable")
    probe = next(call for call in programs.calls if call[0] == "setpriv" and str(tmp_path) in call)
    assert f"--reuid={os.getuid()}" in probe
    assert "r w" in probe


def probing(monkeypatch: pytest.MonkeyPatch, closed: Path) -> Programs:
    """Give a host whose setpriv runs the real probe, for a user to whom `test` says no about one folder."""
    programs = Programs(monkeypatch)
    for name in ("stat", "systemctl", "systemd-escape"):
        programs.add(name)

    def setpriv(argv: Sequence[str]) -> Said:
        script = f'test() {{ [ "$2" != "{closed}" ] && [ "$@" ]; }}\n' + argv[argv.index("-c") + 1]
        command = ["sh", "-c", script, *argv[argv.index("-c") + 2 :]]
        return Said(subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout)

    programs.add("setpriv", setpriv)
    return programs


@pytest.mark.parametrize("below", ["home/ollama-models", "home/not/there/yet"])
def test_the_closed_folder_on_the_way_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, below: str
) -> None:
    (tmp_path / "home/ollama-models").mkdir(parents=True)
    (tmp_path / "home").chmod(0o700)
    probing(monkeypatch, tmp_path / "home")
    fault = refused(tmp_path / below)
    assert str(fault).startswith(f"{tmp_path / below} is out of reach: {USER} cannot enter {tmp_path}/home (")
    assert "mode 0700, owner " in str(fault)
    assert fault.next_step.startswith("set the_variable to a directory elsewhere")


def test_a_user_that_does_not_exist_yet_may_do_what_everyone_may(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs = probing(monkeypatch, tmp_path)
    assert "no-such-user cannot enter" in str(refused(tmp_path / "models", "no-such-user"))
    assert "--reuid=65534" in programs.calls[-1]
    # Whose the directory is, is settled later.
    reach.require(tmp_path, "no-such-user", writable=True, choice="the_variable")


def test_a_directory_of_someone_else_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    probing(monkeypatch, tmp_path)
    assert str(refused(tmp_path)).startswith(f"{USER} cannot read and write {tmp_path} (mode ")
    assert str(refused(tmp_path, writable=False)).startswith(f"{USER} cannot read {tmp_path} (mode ")
    # Only the way to it counts while it is given to its user.
    reach.require(tmp_path, USER, writable=True, choice="the_variable", itself=False)


def dangling(folder: Path) -> Path:
    (folder / "models").symlink_to("/nowhere/at/all")
    return folder / "models"


def through_a_file(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file/models"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (dangling, "is a link to /nowhere/at/all, which does not exist"),
        (through_a_file, "file is not a directory"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    Answers(monkeypatch)
    fault = refused(make(tmp_path))
    assert message in str(fault)
    assert "the_variable" in fault.next_step


@pytest.mark.parametrize(("state", "is_missing"), [("inactive", True), ("failed", True), ("active", False)])
def test_a_disk_that_is_not_mounted_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: str, is_missing: bool
) -> None:
    programs = Answers(monkeypatch)
    programs.answer("systemd-escape", "data.mount\nother.mount\n")
    other = "Where=/other\nLoadState=not-found\nActiveState=inactive\n"
    shown = f"Where={tmp_path}\nLoadState=loaded\nActiveState={state}\n\n{other}"
    programs.answer("systemctl show", shown)
    path = tmp_path / "ollama"
    if is_missing:
        fault = refused(path)
        assert str(fault) == f"{path} does not exist, because nothing is mounted on {tmp_path}"
        assert fault.next_step.startswith(f"mount it (`mount {tmp_path}`")
    else:
        reach.require(path, USER, writable=True, choice="the_variable")


def test_a_disk_of_fstab_that_systemd_leaves_alone_is_named_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Answers(monkeypatch)
    (tmp_path / "my disk").mkdir()
    (tmp_path / "fstab").write_text(
        f"# /dev/a {tmp_path} ext4\n/dev/b {tmp_path}/my\\040disk ext4 noauto 0 0\n/dev/c / ext4\n"
    )
    monkeypatch.setattr(reach, "FSTAB", tmp_path / "fstab")
    fault = refused(tmp_path / "my disk/ollama")
    assert str(fault).endswith(f"because nothing is mounted on {tmp_path}/my disk")
    reach.require(tmp_path / "elsewhere", USER, writable=True, choice="the_variable")


def test_a_read_only_disk_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Answers(monkeypatch)
    real = os.statvfs
    values = {name: getattr(real(tmp_path), name) for name in ("f_flag", "f_bsize")}
    read_only = type("Shown", (), {**values, "f_flag": values["f_flag"] | os.ST_RDONLY})
    monkeypatch.setattr(os, "statvfs", lambda _: read_only)
    fault = refused(tmp_path / "models")
    assert "which is mounted read-only" in str(fault)
    assert "remount the file system read-write" in fault.next_step
    reach.require(tmp_path / "models", USER, writable=False, choice="the_variable")


def test_a_file_system_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Answers(monkeypatch)

    def broken(path: Path) -> bool:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(Path, "is_dir", broken)
    assert str(refused(tmp_path)) == f"{tmp_path}: Input/output error"
