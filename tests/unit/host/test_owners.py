# SPDX-License-Identifier: Apache-2.0
"""Files go back to whom they were made for, and nothing else changes its owner."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.host import settings
from ansible.module_utils.provision.host.owners import Owner, give_back
from ansible.module_utils.provision.host.settings import NotApplicable

from tests.unit.fakes import Answers

ELSEWHERE = Owner(4242, 4343)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Note changes of owners instead of making them, which only root could."""
    noted: list[tuple[str, int, int]] = []

    def chown(path: str, user: int, group: int, **options: Any) -> None:
        assert not options or not options["follow_symlinks"]
        noted.append((Path(path).name, user, group))

    monkeypatch.setattr(os, "chown", chown)
    return noted


def test_a_tree_is_given_back_without_links_that_others_share(
    tmp_path: Path, given: list[tuple[str, int, int]]
) -> None:
    root = tmp_path / "models"
    (root / "blobs").mkdir(parents=True)
    (root / "blobs/own").write_text("")
    (tmp_path / "theirs").write_text("")
    os.link(tmp_path / "theirs", root / "blobs/shared")
    (root / "link").symlink_to("/etc/passwd")
    give_back(root, ELSEWHERE)
    names = [name for name, *_ in given]
    assert sorted(names) == ["blobs", "link", "models", "own"]
    assert names[-1] == "models"
    assert {(user, group) for _, user, group in given} == {ELSEWHERE}


def test_files_of_another_owner_stay_theirs(
    tmp_path: Path, given: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").write_text("")
    monkeypatch.setattr(Owner, "of", classmethod(lambda cls, _: cls(1, os.getgid())))
    give_back(tmp_path, ELSEWHERE)
    assert given == [("own", -1, ELSEWHERE.group), (tmp_path.name, *ELSEWHERE)]


def test_a_directory_of_a_group_that_is_gone_is_restored_by_its_number(
    tmp_path: Path, given: list[tuple[str, int, int]]
) -> None:
    settings.write_directory(str(tmp_path), "0750 root:4343")
    assert given == [(tmp_path.name, 0, 4343)]
    with pytest.raises(NotApplicable, match="no gone-since any more"):
        settings.write_directory(str(tmp_path), "0750 root:gone-since")


def test_a_group_that_users_were_given_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Answers(monkeypatch)
    settings.write_group("provision", None)
    programs.answer("groupdel", code=8, err="cannot remove the primary group of user 'slurm'")
    with pytest.raises(NotApplicable, match=r"group provision is kept: .* 'slurm'"):
        settings.write_group("provision", None)
