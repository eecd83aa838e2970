# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
from ansible.module_utils.provision.python import environment as venv


@pytest.mark.parametrize(
    ("asked", "own", "limits", "candidates", "expected"),
    [
        ("", "3.13", ("3.10", ""), [], "3.13"),
        ("", "3.9", ("3.10", ""), ["3.12", "3.11"], "3.12"),
        ("", "3.10", ("3.11", ""), ["3.10", "3.11"], "3.11"),
        ("", "3.14", ("3.10", "3.13"), ["3.13"], "3.13"),
        ("", "", ("3.10", ""), ["3.11"], "3.11"),
        ("3.12", "3.13", ("3.10", ""), [], "3.12"),
    ],
)
def test_chooses_the_python(
    asked: str, own: str, limits: tuple[str, str], candidates: list[str], expected: str
) -> None:
    assert venv.choose_version(asked, own, limits, candidates) == expected


@pytest.mark.parametrize(
    ("asked", "own", "limits", "message"),
    [
        ("3.9", "3.13", ("3.10", ""), "no Python 3.10 or newer: found 3.9"),
        ("", "3.9", ("3.10", ""), "found 3.9"),
        ("", "", ("3.10", "3.13"), "no Python from 3.10 to 3.13: found none"),
    ],
)
def test_refuses_a_python_out_of_range(asked: str, own: str, limits: tuple[str, str], message: str) -> None:
    with pytest.raises(venv.Fault, match=message) as caught:
        venv.choose_version(asked, own, limits, [])
    assert "python_env_python" in caught.value.next_step


def test_reads_the_distributions_version_from_its_link(tmp_path: Path) -> None:
    (tmp_path / "python3.12").touch()
    (tmp_path / "python3").symlink_to("python3.12")
    assert venv.system_version(tmp_path / "python3") == "3.12"
    assert venv.system_version(tmp_path / "missing") == ""


def test_finds_an_interpreter_and_asks_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "python9.9").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python9.9").chmod(0o755)
    monkeypatch.setattr(venv, "INTERPRETERS", (str(tmp_path / "python{}"),))
    assert venv.find_interpreter("9.9") == venv.Interpreter("9.9", str(tmp_path / "python9.9"), usable=False)
    assert venv.find_interpreter("9.8") == venv.Interpreter("9.8", "", usable=False)
    assert venv.find_interpreter("9.9", sys.executable).usable


def test_every_input_changes_the_directory() -> None:
    names = {
        venv.directory_name("vllm", lock, python, installer)
        for lock in ("a", "b")
        for python in ("3.11", "3.12")
        for installer in ("uv", "pip")
    }
    assert len(names) == 8
    assert all(name.startswith("vllm-") and len(name) == len("vllm-") + 12 for name in names)


def environment(directory: Path, lock: str = "digest") -> Path:
    (directory / "bin").mkdir(parents=True)
    (directory / "bin/python").symlink_to(sys.executable)
    (directory / venv.MARKER).write_text(lock + "\n")
    return directory


def test_complete_only_with_marker_lock_and_interpreter(tmp_path: Path) -> None:
    directory = environment(tmp_path / "vllm-1")
    assert venv.is_complete(directory, "digest")
    assert not venv.is_complete(directory, "other")
    (directory / "bin/python").unlink()
    (directory / "bin/python").symlink_to("/nowhere/python3.1")
    assert not venv.is_complete(directory, "digest")
    assert not venv.is_complete(tmp_path / "missing", "digest")


def test_refuses_another_lock_than_the_one_asked_for(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("a==1\n")
    venv.check_lock(lock, hashlib.sha256(b"a==1\n").hexdigest())
    with pytest.raises(venv.Fault, match="expected 00"):
        venv.check_lock(lock, "00")
    with pytest.raises(OSError, match="No such file"):
        venv.check_lock(tmp_path / "missing", "00")


def test_prunes_only_what_nothing_uses(tmp_path: Path) -> None:
    root, units = tmp_path / "envs", tmp_path / "units"
    used = environment(root / "vllm-aaaaaaaaaaaa")
    dropped_in = environment(root / "vllm-bbbbbbbbbbbb")
    kept = environment(root / "vllm-cccccccccccc")
    old = environment(root / "vllm-dddddddddddd")
    environment(root / "vllm-nightly-eeeeeeeeeeee")
    environment(root / "vllm-notes")
    (units / "b.service.d").mkdir(parents=True)
    (units / "a.service").write_text(f"ExecStart={used}/bin/python -m vllm\n")
    (units / "b.service.d/x.conf").write_text(f"ExecStart={dropped_in}/bin/python\n")
    (units / "dangling.service").symlink_to("/nowhere")
    assert venv.unused(root, "vllm", [str(kept)], units) == [old]
