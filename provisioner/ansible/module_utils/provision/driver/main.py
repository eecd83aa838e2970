# SPDX-License-Identifier: Apache-2.0
"""The program that changes a host's driver: `nvidia-driver-<digest>.pyz install|remove SPEC`."""

from __future__ import annotations

from ..jobs.program import Program
from . import install as nvidia_install
from . import remove

PROGRAM = Program("nvidia-driver", __name__, {"install": nvidia_install.install, "remove": remove.remove})
install, main = PROGRAM.install, PROGRAM.main
