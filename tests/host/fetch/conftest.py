# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from tests.unit.fetch.conftest import orders, pauses, release, site

__all__ = ["orders", "pauses", "release", "site"]
