# SPDX-License-Identifier: Apache-2.0
"""Be the program that works on a host's Ollama models: `ollama-models.pyz bring|verify|prune SPEC`."""

from __future__ import annotations

import signal

from ansible.module_utils.provision.jobs.program import Program

from . import job

PROGRAM = Program("ollama-models", __name__, job.KINDS)
install = PROGRAM.install


def main(arguments: list[str]) -> int:
    """Run what the command line asks for."""
    signal.signal(signal.SIGTERM, job.stop_orderly)
    return int(PROGRAM.main(arguments))
