# SPDX-License-Identifier: Apache-2.0
"""Each message on the page about troubleshooting is one that the product prints."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import tree

PAGE = tree.ROOT / "docs/troubleshooting.md"
MESSAGES = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@functools.cache
def printed() -> tuple[str, ...]:
    """Return every text of the product, with … for what is filled in."""
    sources = [*tree.modules(), *tree.ROOT.glob("roles/*/*/**/*.py")]
    texts = [text for path in sources for text in _literals(path)]
    tasks = [path.read_text(encoding="utf-8") for path in tree.ROOT.glob("roles/*/*/*.yml")]
    return tuple(" ".join(text.split()) for text in [*texts, *tasks])


def _literals(path: Path) -> Iterator[str]:
    for node in ast.walk(tree.parsed(path)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("message", MESSAGES)
def test_the_product_prints_it(message: str) -> None:
    pattern = re.compile(".*?".join(re.escape(part.strip()) for part in message.split("…")))
    assert any(pattern.search(text) for text in printed()), f"no message contains {message!r}"


def test_the_page_has_messages_of_every_part() -> None:
    assert len(MESSAGES) > 30
