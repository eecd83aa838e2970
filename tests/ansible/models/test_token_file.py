# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

FETCH = Path(__file__).resolve().parents[3] / "roles/model_store/tasks/fetch.yml"
TOKEN = "hf_canary5f1c"


@pytest.mark.parametrize(("given", "status"), [("", 0), ("{here}/token", 0), (TOKEN, 2)])
def test_a_wrong_token_file_is_named_by_its_word_alone(tmp_path: Path, given: str, status: int) -> None:
    (tmp_path / "token").write_text(TOKEN)
    tasks = yaml.safe_load(FETCH.read_text(encoding="utf-8"))
    copied = next(number for number, task in enumerate(tasks) if "ansible.builtin.copy" in task)
    words = {
        "__model_store_state": {"missing": [{"source": "huggingface"}]},
        "__model_store_hubs": {"huggingface": {"token": given.format(here=tmp_path)}},
    }
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": words}
    assert "ansible.builtin.assert" in tasks[copied - 1]
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{**play, "tasks": [tasks[copied - 1]]}]))
    ran = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-vvv", "play.yml"],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == status, ran.stdout + ran.stderr
    assert ("model_store_huggingface_token_file is not a file" in ran.stdout) is bool(status)
    assert TOKEN not in ran.stdout + ran.stderr
