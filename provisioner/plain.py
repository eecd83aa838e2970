# SPDX-License-Identifier: Apache-2.0
"""Make text that came from a host safe and short enough to show: no control character survives."""

from __future__ import annotations

import re

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# C0 without tab and newline, DEL, C1, marks that reorder or hide text, and what no encoding or XML can carry.
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)


def clean(text: object) -> str:
    """Drop colours, normalise line ends and escape every other control character."""
    plain = COLOURS.sub("", str(text)).replace("\r\n", "\n").replace("\t", "    ")
    return UNSAFE.sub(_spell, plain)


def one_line(text: object, limit: int = 200) -> str:
    """Return cleaned text on a single line of at most `limit` characters."""
    line = " ".join(clean(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _spell(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
