# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from tests.unit.conftest import programs, systemd

__all__ = ["programs", "systemd"]
