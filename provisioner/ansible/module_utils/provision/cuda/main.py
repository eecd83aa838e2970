# SPDX-License-Identifier: Apache-2.0
"""The program that changes the CUDA toolkits of a host: `cuda-toolkit-<digest>.pyz` with a verb and SPEC."""

from __future__ import annotations

from ..jobs.program import Program
from . import install as cuda_install

PROGRAM = Program("cuda-toolkit", __name__, {"bring": cuda_install.change})
install, main = PROGRAM.install, PROGRAM.main
