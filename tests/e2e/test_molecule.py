# SPDX-License-Identifier: Apache-2.0
"""The scenario that role authors run, for each engine that no other test here serves with."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from provisioner import engines

# Those have whole files of tests, which take the scenario's steps and more.
TESTED_ELSEWHERE = ("ollama", "vllm")


@pytest.mark.parametrize("engine", sorted(set(engines.load()) - set(TESTED_ELSEWHERE)))
def test_the_engine_scenario_passes_from_create_to_destroy(checkout: Path, engine: str) -> None:
    done = subprocess.run(
        [checkout / "scripts/molecule", "engine"],
        cwd=checkout,
        env={**os.environ, "ENGINE": engine},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
