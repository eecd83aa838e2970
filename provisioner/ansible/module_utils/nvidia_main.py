# SPDX-License-Identifier: Apache-2.0
"""Be the program that changes a host's driver: `nvidia-driver-<digest>.pyz install|remove SPEC`."""

from __future__ import annotations

from ansible.module_utils import nvidia_install, nvidia_remove
from ansible.module_utils.job_program import Program

PROGRAM = Program(
    "nvidia-driver", __name__, {"install": nvidia_install.install, "remove": nvidia_remove.remove}
)
install, main = PROGRAM.install, PROGRAM.main
