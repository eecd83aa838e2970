# SPDX-License-Identifier: Apache-2.0
"""Be the program that brings conda about on a host: `conda-python-<digest>.pyz install SPEC`."""

from __future__ import annotations

import sys
from pathlib import Path

from ansible.module_utils import (
    archive_download,
    archive_source,
    conda_install,
    conda_place,
    conda_program,
    host_paths,
    job_fault,
    job_patience,
    job_program,
    job_progress,
    json_files,
)

PARTS = (
    archive_download,
    archive_source,
    conda_install,
    conda_place,
    conda_program,
    host_paths,
    job_fault,
    job_patience,
    job_program,
    job_progress,
    json_files,
)
JOBS = {"install": conda_install.install}


def install(folder: Path) -> Path:
    """Write the program below a folder, unless this very one is there, and return its path."""
    content = job_program.pack(sys.modules[__name__], PARTS)
    return Path(job_program.install(folder, "conda-python", content))


def main(arguments: list[str]) -> int:
    """Run what the command line asks for."""
    return int(job_program.run(JOBS, arguments))
