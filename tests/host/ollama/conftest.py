# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from tests.unit.ollama.conftest import ollama, registry

__all__ = ["ollama", "registry"]
