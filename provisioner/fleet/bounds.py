# SPDX-License-Identifier: Apache-2.0
"""Bounds of numbers that hold for every variable of one kind, which its name shows."""

from __future__ import annotations

# Far beyond every real value, and small enough for every program that reads it.
_MOST = 10**15
_YEAR = 366 * 24 * 60 * 60
_BY_ENDING = {
    "_workers": (1, 64),
    "_streams": (1, 64),
    "_attempts": (1, 1000),
    "_timeout": (1, _YEAR),
    "_seconds": (1, _YEAR),
    "_bytes": (0, _MOST),
    "_gpus_expected": (0, 1024),
}


def beyond(name: str, number: float, *, has_own: bool) -> str | None:
    """Return why a number is outside the bounds of its variable, or None.

    A variable that `has_own` limits elsewhere is only kept from absurd values here.
    """
    ending = next((one for one in _BY_ENDING if name.endswith(one)), None)
    if ending is None or has_own:
        return None if -_MOST <= number <= _MOST else f"must be at most {_MOST}"
    least, most = _BY_ENDING[ending]
    return None if least <= number <= most else f"must be between {least} and {most}"
