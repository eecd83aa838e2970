# SPDX-License-Identifier: Apache-2.0
"""Be the program that brings CUDA toolkits about on a host: `cuda-toolkit-<digest>.pyz bring SPEC`."""

from __future__ import annotations

from ansible.module_utils import cuda_install
from ansible.module_utils.job_program import Program

PROGRAM = Program("cuda-toolkit", __name__, {"bring": cuda_install.bring})
install, main = PROGRAM.install, PROGRAM.main
