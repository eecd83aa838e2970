# SPDX-License-Identifier: Apache-2.0
"""Let real Ansible run modules of ours twice, and look at what the second run packs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible import constants

from provisioner.ansible import payloads
from provisioner.content import plugins

PLAY = """
- name: Run two modules
  hosts: all
  gather_facts: false
  tasks:
    - name: Use one of Ansible
      ansible.builtin.stat:
        path: /
    - name: Use one of ours
      model_file:
        model: {engine: none}
      failed_when: false
"""


PACKED = ["ansible.legacy.model_file", "ansible.modules.stat"]


def run(home: Path) -> list[str]:
    """Run the play and return the modules that Ansible packed."""
    (home / "play.yml").write_text(PLAY)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "ANSIBLE_CALLBACK_PLUGINS": str(plugins("callbacks")),
        "ANSIBLE_LIBRARY": f"{plugins('modules')}:{home}/library-of-mine",
        "ANSIBLE_MODULE_UTILS": str(plugins("module_utils")),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_DEBUG": "1",
    }
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "one,", "-c", "local", "play.yml"]
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if "ANSIBALLZ: Creating module" in line]


def names(folder: Path) -> list[str]:
    return sorted(file.name.partition("-")[0] for file in folder.glob("provision/modules/*/*"))


def test_a_second_run_packs_nothing_until_a_file_changes(tmp_path: Path) -> None:
    (tmp_path / "library-of-mine").mkdir()
    assert len(run(tmp_path)) == 2
    assert names(tmp_path / ".cache") == PACKED
    assert run(tmp_path) == []
    # Anything on the path could be what a module imports.
    (tmp_path / "library-of-mine/another.py").write_text("")
    assert len(run(tmp_path)) == 2


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder in which this process, as if it were a run of Ansible, has packed modules."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    folder = tmp_path / payloads.FOLDER
    folder.mkdir()
    for name in (*PACKED, "ansible.legacy.somebodys", "ansible_collections.some.one.plugins.modules.thing"):
        for ending in ("", ".lock", "-part"):
            (folder / f"{name}-ZIP_DEFLATED-none{ending}").write_text(name)
    return folder


def test_modules_that_may_change_unseen_are_not_kept(here: Path) -> None:
    payloads.keep(payloads.fetch())
    assert names(here.parent / "cache") == PACKED
    for file in here.iterdir():
        file.unlink()
    payloads.fetch()
    assert sorted(file.read_text() for file in here.iterdir()) == PACKED


@pytest.mark.parametrize("open_one", ["provision", "provision/modules", "provision/modules/*"])
def test_a_folder_that_others_may_write_to_is_not_trusted(here: Path, open_one: str) -> None:
    payloads.keep(payloads.fetch())
    (folder,) = (here.parent / "cache").glob(open_one)
    folder.chmod(0o777)
    for file in here.iterdir():
        file.unlink()
    payloads.fetch()
    assert not list(here.iterdir())


def test_without_a_place_for_it_ansible_packs_as_ever(here: Path) -> None:
    (here.parent / "cache").write_text("a file")
    before = sorted(here.iterdir())
    payloads.keep(payloads.fetch())
    assert sorted(here.iterdir()) == before


def test_old_sets_go(here: Path) -> None:
    folder = here.parent / "cache/provision/modules"
    for number in range(9):
        (folder / str(number)).mkdir(parents=True)
        os.utime(folder / str(number), (number, number))
    payloads.keep(payloads.fetch())
    assert len(list(folder.iterdir())) == payloads.SETS_KEPT
    assert names(here.parent / "cache") == PACKED
