# SPDX-License-Identifier: Apache-2.0
"""Programs that outlive the connection hold all that they need, and nothing of Ansible."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.module_utils.provision.jobs import program as job_program

PACKAGES = Path(job_program.__file__).parents[1]
PROGRAMS = [
    *(f"provision.{path.parent.name}.{path.stem}" for path in sorted(PACKAGES.glob("*/*main.py"))),
    "provision.cuda.install",
    "provision.fetch.archive",
    "provision.models.fetch",
    "provision.python.conda_install",
    "engine_ollama.job",
]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_runs_where_nothing_is_installed(name: str, tmp_path: Path) -> None:
    module = importlib.import_module(f"ansible.module_utils.{name}")
    program = module.install(tmp_path)
    assert module.install(tmp_path) == program
    argv = [sys.executable, "-I", "-S", program, "no-such-job", "/dev/null"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "KeyError: 'no-such-job'" in done.stderr or "JSONDecodeError" in done.stderr


def test_a_program_is_named_by_its_content_and_needs_no_list_of_its_parts() -> None:
    names = set(job_program.sources("ansible.module_utils.provision.driver.main"))
    parts = ("driver", "driver.main", "driver.install", "host.follow", "host.fault")
    assert {f"ansible.module_utils.provision.{part}" for part in parts} <= names
    assert "ansible.module_utils.basic" not in names
