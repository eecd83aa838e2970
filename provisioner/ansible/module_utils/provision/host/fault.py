# SPDX-License-Identifier: Apache-2.0
"""Carry why a job on a host failed from where it is noticed to who reports it."""

from __future__ import annotations


class JobFault(Exception):
    """Say what went wrong; `next` holds what to do about it."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next = next_step
