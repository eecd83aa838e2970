# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from tests.unit.engine.conftest import engine, root

__all__ = ["engine", "root"]
