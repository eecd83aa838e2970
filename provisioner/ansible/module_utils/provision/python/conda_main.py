# SPDX-License-Identifier: Apache-2.0
"""The program that installs conda on a host: `conda-python-<digest>.pyz install SPEC`."""

from __future__ import annotations

from ..jobs.program import Program
from . import conda_install

PROGRAM = Program("conda-python", __name__, {"install": conda_install.install})
install, main = PROGRAM.install, PROGRAM.main
