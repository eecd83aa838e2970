# SPDX-License-Identifier: Apache-2.0
"""Be the program that changes a host's driver: `nvidia-driver-<digest>.pyz install|remove SPEC`."""

from __future__ import annotations

import sys
from pathlib import Path

from ansible.module_utils import (
    archive_download,
    archive_source,
    commands,
    host_kinds,
    host_paths,
    job_fault,
    job_patience,
    job_program,
    job_progress,
    json_files,
    nvidia_architecture,
    nvidia_choice,
    nvidia_hold,
    nvidia_install,
    nvidia_installed,
    nvidia_kernel,
    nvidia_managers,
    nvidia_packages,
    nvidia_pci,
    nvidia_process,
    nvidia_record,
    nvidia_reload,
    nvidia_remove,
    nvidia_rollback,
    nvidia_runfile,
    nvidia_services,
    nvidia_steps,
    package_managers,
)

PARTS = (
    archive_download,
    archive_source,
    commands,
    host_kinds,
    host_paths,
    job_fault,
    job_patience,
    job_program,
    job_progress,
    json_files,
    nvidia_architecture,
    nvidia_choice,
    nvidia_hold,
    nvidia_install,
    nvidia_installed,
    nvidia_kernel,
    nvidia_managers,
    nvidia_packages,
    nvidia_pci,
    nvidia_process,
    nvidia_record,
    nvidia_reload,
    nvidia_remove,
    nvidia_rollback,
    nvidia_runfile,
    nvidia_services,
    nvidia_steps,
    package_managers,
)
JOBS = {"install": nvidia_install.install, "remove": nvidia_remove.remove}


def install(folder: Path) -> Path:
    """Write the program below a folder, unless this very one is there, and return its path."""
    content = job_program.pack(sys.modules[__name__], PARTS)
    return Path(job_program.install(folder, "nvidia-driver", content))


def main(arguments: list[str]) -> int:
    """Run what the command line asks for."""
    return int(job_program.run(JOBS, arguments))
