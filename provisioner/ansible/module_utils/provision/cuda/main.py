# SPDX-License-Identifier: Apache-2.0
"""Be the program that brings CUDA toolkits about on a host: `cuda-toolkit-<digest>.pyz bring SPEC`."""

from __future__ import annotations

from ..jobs.program import Program
from . import install as cuda_install

PROGRAM = Program("cuda-toolkit", __name__, {"bring": cuda_install.bring})
install, main = PROGRAM.install, PROGRAM.main
