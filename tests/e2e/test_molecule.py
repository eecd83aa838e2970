# SPDX-License-Identifier: Apache-2.0
"""The scenarios that role authors run: engines that no other test here serves with, and the GPU stack."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from provisioner.fleet import engines
from tests.contract import tree

# Those have whole files of tests, which take the scenario's steps and more.
TESTED_ELSEWHERE = ("ollama", "vllm")
# Its scenario is part of every run. Those of the others, some with gigabytes of packages, are exhaustive.
IN_EVERY_RUN = "llamacpp"
OTHERS = sorted(set(engines.load()) - {*TESTED_ELSEWHERE, IN_EVERY_RUN})


# Apt, and dnf without module streams; with them is rocky9, on which tests/e2e/gpu breaks drivers.
PLATFORMS = "ubuntu2404,rocky10"
FAMILIES = ("ubuntu2204,ubuntu2404,ubuntu2604", "debian12,debian13", "rocky8,rocky9,rocky10")


@pytest.mark.parametrize(
    "engine", [IN_EVERY_RUN, *(pytest.param(name, marks=pytest.mark.exhaustive) for name in OTHERS)]
)
def test_the_engine_scenario_passes_from_create_to_destroy(checkout: Path, engine: str) -> None:
    play(checkout, "engine", ENGINE=engine)


@pytest.mark.exhaustive
def test_a_new_engine_passes_its_scenario_before_it_is_changed(checkout: Path, tmp_path: Path) -> None:
    copy = tree.copy(tmp_path / "checkout")
    (copy / ".venv").symlink_to(checkout / ".venv")
    subprocess.run([copy / "scripts/new-engine", "sketch"], cwd=copy, check=True, capture_output=True)
    play(copy, "engine", ENGINE="sketch", PYTHONPATH=str(copy))


@pytest.mark.parametrize(
    ("platforms", "serving"),
    [
        (PLATFORMS, "rocky10"),
        *(pytest.param(names, "everywhere", marks=pytest.mark.exhaustive) for names in FAMILIES),
    ],
    ids=["one-of-each-kind", "ubuntu", "debian", "rocky"],
)
def test_the_whole_site_passes_on_hosts_with_simulated_gpus(
    checkout: Path, platforms: str, serving: str
) -> None:
    play(checkout, "gpu", PLATFORMS=platforms, SERVING=serving)


def play(checkout: Path, scenario: str, **words: str) -> None:
    """Run a scenario from create to destroy."""
    done = subprocess.run(
        [checkout / "scripts/molecule", scenario],
        cwd=checkout,
        env={**os.environ, **words},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
