# SPDX-License-Identifier: Apache-2.0
"""The program for a host's Ollama models: `ollama-models-<digest>.pyz ensure|verify|prune SPEC`."""

from __future__ import annotations

from ansible.module_utils.provision.jobs.program import Program

from . import job

PROGRAM = Program("ollama-models", __name__, job.KINDS)
install, main = PROGRAM.install, PROGRAM.main
