# SPDX-License-Identifier: Apache-2.0
"""The scenario that role authors run, on a lab of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path


def test_the_engine_scenario_passes_from_create_to_destroy(checkout: Path) -> None:
    done = subprocess.run(
        [checkout / "scripts/molecule"],
        cwd=checkout,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
