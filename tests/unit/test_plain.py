# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from provisioner.plain import clean, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain Ünïcode 你好", "plain Ünïcode 你好"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b[2J\x9b1m", "\\x1b[2J\\x9b1m"),
        ("a\r\nb\rc\td\x00", "a\nb\\x0dc    d\\x00"),
        ("gnp\u202eexe\u200b", "gnp\\u202eexe\\u200b"),
        ("\ud800", "\\ud800"),
    ],
)
def test_nothing_reaches_the_terminal_but_text(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_a_line_is_cut_to_its_room() -> None:
    assert one_line("  a\n b  " + "c" * 9, 6) == "a b c…"
