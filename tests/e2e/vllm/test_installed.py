# SPDX-License-Identifier: Apache-2.0
"""The installed package, away from any checkout."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.e2e.machines import Machines


def test_the_wheel_plans_and_applies_from_the_root_folder(serving: Machines, installed: Path) -> None:
    for command in (("plan",), ("apply", "--yes")):
        done = subprocess.run(
            [installed / "bin/provision", *command, serving.inventory, "--limit", "ms", "--json"],
            cwd="/",
            env=dict(serving.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changes"] == []
