# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from tests.host.gpu.conftest import nvml, simulated_library

__all__ = ["nvml", "simulated_library"]
