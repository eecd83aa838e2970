# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from tests.unit.python.conftest import orders

__all__ = ["orders"]
