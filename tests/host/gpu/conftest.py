# SPDX-License-Identifier: Apache-2.0
"""Simulate NVIDIA's management library."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def simulated_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the simulated NVML under the names that a driver gives it; return its folder."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler here, so there is no simulated NVML")
    folder = tmp_path_factory.mktemp("nvml")
    library = folder / "libnvidia-ml.so.580.95.05"
    folder_of_sources = CHECKOUT / "molecule/shared/simulated_gpu/source"
    sources = [folder_of_sources / name for name in ("nvml.c", "nvml_health.c")]
    flags = ["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([compiler, *flags, "-o", library, *sources], check=True)
    (folder / "libnvidia-ml.so.1").symlink_to(library.name)
    return folder


@pytest.fixture
def nvml(simulated_library: Path, tmp_path: Path) -> dict[str, str]:
    """Return the environment in which the simulated NVML is found and shows one GPU."""
    state = tmp_path / "nvml"
    state.write_text("name=NVIDIA Simulated\n")
    return {"LD_LIBRARY_PATH": str(simulated_library), "SIMULATED_NVML": str(state)}
