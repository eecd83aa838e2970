# SPDX-License-Identifier: Apache-2.0
"""Let the real tool work on a host that its inventory leaves out; nobody answers at the address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

INVENTORY = """\
[all]
absent ansible_host=192.0.2.1

[all:vars]
serve_engine=vllm
serve_model=org/name
lab_skip="{{ lookup('file', '%s', errors='ignore') | default('', true) }}"
"""


BARE = """\
[all]
bastion ansible_host=192.0.2.1 site=x
switch ansible_host=192.0.2.2 ansible_connection=ansible.netcommon.network_cli
"""


def provision(inventory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "provisioner", words[0], str(inventory), "--json", *words[1:]],
        env={**os.environ, "XDG_STATE_HOME": str(inventory.parent / "state")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("verb", [["apply", "--yes"], ["verify"], ["remove", "--yes"]], ids=" ".join)
def test_a_host_for_which_nothing_is_set_is_left_alone(verb: list[str], tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.ini"
    inventory.write_text(BARE)
    done = provision(inventory, *verb)
    assert done.returncode == 0, done.stdout + done.stderr
    for host in json.loads(done.stdout)["hosts"]:
        assert host["skipped"] == "no service and no variable of this tool is set"
        assert {cell["outcome"] for cell in host["cells"]} == {"skipped"}


@pytest.mark.parametrize("verb", [["apply", "--yes"], ["verify"], ["remove", "--yes"]], ids=" ".join)
def test_a_host_with_a_reason_is_skipped_in_every_phase(verb: list[str], tmp_path: Path) -> None:
    reason = tmp_path / "unavailable"
    reason.write_text("no archive can be had\n")
    inventory = tmp_path / "hosts.ini"
    inventory.write_text(INVENTORY % reason)
    done = provision(inventory, *verb)
    assert done.returncode == 0, done.stdout + done.stderr
    host = json.loads(done.stdout)["hosts"][0]
    assert host["skipped"] == "no archive can be had"
    assert {cell["outcome"] for cell in host["cells"]} == {"skipped"}
