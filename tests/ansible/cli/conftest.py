# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from tests.cli_calls import connections, good

__all__ = ["connections", "good"]
