# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from tests.unit.cuda.conftest import host
from tests.unit.fetch.conftest import site

__all__ = ["host", "site"]
