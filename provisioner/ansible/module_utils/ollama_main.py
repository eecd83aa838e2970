# SPDX-License-Identifier: Apache-2.0
"""Be the program that works on a host's Ollama models: `ollama-models.pyz bring|verify|prune SPEC`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from ansible.module_utils import (
    job_fault,
    job_program,
    job_progress,
    json_files,
    model_files,
    ollama_api,
    ollama_job,
    ollama_modelfile,
    ollama_names,
    ollama_pull,
    ollama_store,
    ollama_wanted,
)

PARTS = (
    job_fault,
    job_program,
    job_progress,
    json_files,
    model_files,
    ollama_api,
    ollama_job,
    ollama_modelfile,
    ollama_names,
    ollama_pull,
    ollama_store,
    ollama_wanted,
)


def install(folder: Path) -> Path:
    """Write the program below a folder, unless this very one is there, and return its path."""
    content = job_program.pack(sys.modules[__name__], PARTS)
    path: Path = job_program.install(folder, "ollama-models", content)
    return path


def main(arguments: list[str]) -> int:
    """Run what the command line asks for."""
    signal.signal(signal.SIGTERM, ollama_job.stop_orderly)
    return int(job_program.run(ollama_job.KINDS, arguments))
