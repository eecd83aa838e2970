# SPDX-License-Identifier: Apache-2.0
"""Carry why something on a host failed from where it is noticed to the entry that reports it."""

from __future__ import annotations


class Fault(Exception):
    """Say what went wrong; `next_step` holds what to do about it."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step
