# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from provisioner import settings
from tests.conftest import CHECKOUT


@pytest.mark.parametrize("way", ["checkout", "command"])
def test_the_bindings_come_along_from_the_controller(way: str, nvml: dict[str, str], tmp_path: Path) -> None:
    """In a checkout by its ansible.cfg, and from anywhere by the environment that the command sets."""
    base = {**os.environ, **nvml, "ANSIBLE_LOCAL_TEMP": str(tmp_path / "local")}
    environment = base if way == "checkout" else settings.environment(tmp_path / "events", base)
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "adhoc", "localhost", "-c", "local", "-m", "host_probe"],
        cwd=CHECKOUT if way == "checkout" else tmp_path,
        env={**environment, "ANSIBLE_LOAD_CALLBACK_PLUGINS": "False"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    document: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    facts = document["ansible_facts"]["host_probe"]
    assert facts["os"]["kernel"] == Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert set(facts["driver"]["xid"]) == {"errors", "whole", "problem"}
    assert (facts["driver"]["cuda"], facts["gpus"][0]["ecc_uncorrected"]) == ("13.0", 0)
    assert [gpu["name"] for gpu in facts["gpus"]] == ["NVIDIA Simulated"]
    assert facts["driver"]["library"] == "580.95.05"
