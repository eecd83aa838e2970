# SPDX-License-Identifier: Apache-2.0
"""Be the program that brings CUDA toolkits about on a host: `cuda-toolkit-<digest>.pyz bring SPEC`."""

from __future__ import annotations

import sys
from pathlib import Path

from ansible.module_utils import (
    archive_download,
    archive_source,
    commands,
    conda_place,
    conda_program,
    cuda_install,
    cuda_packages,
    cuda_place,
    cuda_runfile,
    cuda_versions,
    host_paths,
    job_fault,
    job_patience,
    job_program,
    job_progress,
    json_files,
    nvidia_architecture,
    nvidia_choice,
    nvidia_packages,
    nvidia_pci,
    package_managers,
)

PARTS = (
    archive_download,
    archive_source,
    commands,
    conda_place,
    conda_program,
    cuda_install,
    cuda_packages,
    cuda_place,
    cuda_runfile,
    cuda_versions,
    host_paths,
    job_fault,
    job_patience,
    job_program,
    job_progress,
    json_files,
    nvidia_architecture,
    nvidia_choice,
    nvidia_packages,
    nvidia_pci,
    package_managers,
)
JOBS = {"bring": cuda_install.bring}


def install(folder: Path) -> Path:
    """Write the program below a folder, unless this very one is there, and return its path."""
    content = job_program.pack(sys.modules[__name__], PARTS)
    return Path(job_program.install(folder, "cuda-toolkit", content))


def main(arguments: list[str]) -> int:
    """Run what the command line asks for."""
    return int(job_program.run(JOBS, arguments))
