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


@pytest.mark.parametrize("verb", [["apply", "--yes"], ["verify"], ["remove", "--yes"]], ids=" ".join)
def test_a_host_with_a_reason_is_skipped_in_every_phase(verb: list[str], tmp_path: Path) -> None:
    reason = tmp_path / "unavailable"
    reason.write_text("no archive can be had\n")
    inventory = tmp_path / "hosts.ini"
    inventory.write_text(INVENTORY % reason)
    done = subprocess.run(
        [sys.executable, "-m", "provisioner", verb[0], str(inventory), "--json", *verb[1:]],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    host = json.loads(done.stdout)["hosts"][0]
    assert host["skipped"] == "no archive can be had"
    assert {cell["outcome"] for cell in host["cells"]} == {"skipped"}
