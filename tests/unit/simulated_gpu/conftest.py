# SPDX-License-Identifier: Apache-2.0
"""Let the tests import what makes simulated GPU hosts."""

from __future__ import annotations

import sys

from tests.conftest import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "molecule/shared"))
