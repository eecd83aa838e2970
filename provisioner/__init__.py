# SPDX-License-Identifier: Apache-2.0
"""Provision GPU inference hosts over SSH: from a bare machine to an answered question."""

from __future__ import annotations

__version__ = "0.1.0"
