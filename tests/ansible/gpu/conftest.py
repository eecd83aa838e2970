# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from tests.unit.gpu.conftest import nvml, simulated_library

__all__ = ["nvml", "simulated_library"]
