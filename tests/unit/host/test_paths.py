# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.module_utils.provision.host import paths
from ansible.module_utils.provision.host.entry import removal
from ansible.module_utils.provision.host.fault import Fault

GB = 10**9


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every file system five gigabytes of free space."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=5 * GB))


def test_refuses_what_does_not_fit_with_every_number(tmp_path: Path) -> None:
    paths.require_room("a model", [(tmp_path / "not/yet/there", 4 * GB)], reserve=GB)
    with pytest.raises(Fault) as caught:
        paths.require_room("a model", [(tmp_path / "not/yet", 6 * GB)], GB, ", or move root")
    assert str(caught.value) == (
        f"not enough disk for a model: {tmp_path} has 5.00 GB free, and 6.00 GB plus 1.00 GB in reserve are "
        "needed there"
    )
    assert caught.value.next_step == (
        f"free 2.00 GB on the file system of {tmp_path}, or move root, then apply again"
    )


def test_what_shares_a_disk_has_to_fit_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = [(tmp_path / "a", 3 * GB), (tmp_path / "b", 3 * GB)]
    with pytest.raises(Fault, match=r"and 6\.00 GB are needed there"):
        paths.require_room("both", needs)
    monkeypatch.setattr(paths, "device", lambda path: path.name)
    paths.require_room("both", needs)


def test_removes_the_marker_before_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, link, file = tmp_path / "folder", tmp_path / "link", tmp_path / "file"
    folder.mkdir()
    (folder / "marker").touch()
    link.symlink_to(folder)
    file.touch()
    for path in (file, link, tmp_path / "nothing"):
        paths.remove(path, "marker")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "marker"]
    seen = []
    monkeypatch.setattr(shutil, "rmtree", lambda path: seen.append((path, (folder / "marker").exists())))
    paths.remove(folder, "marker")
    assert seen == [(str(folder), False)]


def test_drops_only_empty_folders_from_the_inside_out(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    (tmp_path / "c/file").touch()
    paths.drop_empty(tmp_path / "a/b", tmp_path / "a", tmp_path / "c", tmp_path / "nothing")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_the_result_of_a_removal_lists_what_it_was() -> None:
    assert removal([]) == {
        "changed": False,
        "finished": True,
        "removed": [],
        "diff": {"before": "", "after": ""},
    }
    listed = removal(["unit", Path("/a")])
    assert (listed["changed"], listed["removed"]) == (True, ["unit", "/a"])
    assert listed["diff"]["before"] == "unit\n/a\n"


def test_a_running_process_uses_its_environment(tmp_path: Path) -> None:
    directory = tmp_path / "vllm-aaaaaaaaaaaa"
    (tmp_path / "proc/12").mkdir(parents=True)
    (tmp_path / "proc/12/cmdline").write_bytes(f"{directory}/bin/python\0-m\0vllm".encode())
    assert paths.in_use(directory, tmp_path / "units", tmp_path / "proc")
    assert not paths.in_use(tmp_path / "vllm-a", tmp_path / "units", tmp_path / "proc")
