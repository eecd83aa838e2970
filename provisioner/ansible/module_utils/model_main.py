# SPDX-License-Identifier: Apache-2.0
"""Be the store's program on a host: `model-store-<digest>.pyz fetch SPEC`, `verify SPEC` or `client`."""

from __future__ import annotations

import sys
from pathlib import Path

from ansible.module_utils import (
    host_paths,
    job_fault,
    job_patience,
    job_program,
    job_progress,
    json_files,
    model_check,
    model_client,
    model_download,
    model_fetch,
    model_files,
    model_gguf,
    model_process,
    model_select,
)

PARTS = (
    host_paths,
    job_fault,
    job_patience,
    job_program,
    job_progress,
    json_files,
    model_check,
    model_client,
    model_download,
    model_fetch,
    model_files,
    model_gguf,
    model_process,
    model_select,
)
JOBS = {"fetch": model_fetch.fetch, "verify": model_check.verify}


def install(folder: Path) -> Path:
    """Write the program below a folder, unless this very one is there, and return its path."""
    content = job_program.pack(sys.modules[__name__], PARTS)
    return Path(job_program.install(folder, "model-store", content))


def main(arguments: list[str]) -> int:
    """Run what the command line asks for."""
    if arguments[0] == "client":
        return int(model_client.main())
    return int(job_program.run(JOBS, arguments))
