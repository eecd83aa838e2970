# SPDX-License-Identifier: Apache-2.0
"""The program that installs release archives on a host: `release-archive-<digest>.pyz fetch SPEC`."""

from __future__ import annotations

from ..jobs.program import Program
from . import archive

PROGRAM = Program("release-archive", __name__, {"fetch": archive.fetch})
install, main = PROGRAM.install, PROGRAM.main
