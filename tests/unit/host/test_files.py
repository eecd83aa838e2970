# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.host.files import replace_file, replace_link


def test_a_file_gets_its_content_and_mode_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    before = os.umask(0o077)
    try:
        replace_file(path, b"\xff", 0o644)
    finally:
        os.umask(before)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"\xff", 0o644)
    replace_file(path, b"2", 0o600)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"2", 0o600)
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    replace_file(path, b"old", 0o644)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"new", 0o644)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_refused_was_readable_by_root_alone_and_is_gone(tmp_path: Path) -> None:
    path, seen = tmp_path / "file", []

    def refuse(fresh: Path) -> None:
        seen.append((fresh.read_bytes(), fresh.stat().st_mode & 0o777))
        raise Fault("no", "mend it")

    with pytest.raises(Fault, match="no"):
        replace_file(path, b"new", 0o644, check=refuse)
    assert seen == [(b"new", 0o600)]
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_replaced_whatever_it_pointed_to(tmp_path: Path) -> None:
    path = tmp_path / "link"
    for target in ("first", "second"):
        replace_link(path, tmp_path / target)
        assert path.readlink() == tmp_path / target
    assert list(tmp_path.iterdir()) == [path]
