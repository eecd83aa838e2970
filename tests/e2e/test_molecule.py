# SPDX-License-Identifier: Apache-2.0
"""The scenario that role authors run, for each engine, on a lab of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from provisioner import engines


@pytest.mark.parametrize("engine", engines.load())
def test_the_engine_scenario_passes_from_create_to_destroy(checkout: Path, engine: str) -> None:
    done = subprocess.run(
        [checkout / "scripts/molecule"],
        cwd=checkout,
        env={**os.environ, "ENGINE": engine},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
