# SPDX-License-Identifier: Apache-2.0
"""Be the program that brings release archives about on a host: `release-archive-<digest>.pyz fetch SPEC`."""

from __future__ import annotations

from ansible.module_utils import archive_fetch
from ansible.module_utils.job_program import Program

PROGRAM = Program("release-archive", __name__, {"fetch": archive_fetch.fetch})
install, main = PROGRAM.install, PROGRAM.main
