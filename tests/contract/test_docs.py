# SPDX-License-Identifier: Apache-2.0
"""What the documents tell a reader to type or to open is there."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from provisioner.cli import main as command_line
from tests.contract import test_engines, test_package, tree

DOCUMENTS = sorted([*tree.ROOT.glob("*.md"), *tree.ROOT.glob("docs/*.md")])
EVERY_DOCUMENT = pytest.mark.parametrize("document", DOCUMENTS, ids=tree.relative)
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
COMMAND = re.compile(r"(?:^|`|\$ )provision ((?:[a-z]+ ?)+)", re.MULTILINE)
PACKAGE_ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \| ([^|]*) \|$", re.MULTILINE)
SCRIPT = re.compile(r"\b(scripts/[a-z-]+|bench/[a-z_]+\.py|\.ci/run)\b")


@EVERY_DOCUMENT
def test_every_link_into_the_repository_leads_somewhere(document: Path) -> None:
    links = [link for link in LINK.findall(document.read_text(encoding="utf-8")) if "://" not in link]
    assert not [link for link in links if not (document.parent / link).exists()]


def test_the_guide_to_engines_explains_every_key_and_every_input() -> None:
    guide = (tree.ROOT / "docs/adding-an-engine.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `(\w+)` \|", guide, re.MULTILINE))
    assert not (test_engines.KEYS | test_engines.OPTIONAL_KEYS) - explained
    # The templates are where they are, and `service` alone describes what an inventory may set.
    common = tree.ROOT / "roles/engine_common"
    inputs = {name for entry in set(tree.specs(common)) - {"service"} for name in tree.options(common, entry)}
    assert not {name for name in inputs - {"engine_common_templates"} if f"`{name}`" not in guide}


@EVERY_DOCUMENT
def test_every_script_that_is_named_exists(document: Path) -> None:
    named = set(SCRIPT.findall(document.read_text(encoding="utf-8")))
    assert not [name for name in named if not (tree.ROOT / name).exists()]


@EVERY_DOCUMENT
def test_every_command_that_is_named_exists(document: Path) -> None:
    named = COMMAND.findall(document.read_text(encoding="utf-8"))
    assert not [words for words in named if not _exists(words.split())]


def _exists(words: list[str]) -> bool:
    """Follow the words down the groups of commands, as far as they are groups."""
    command: click.Command = command_line.cli
    for word in words:
        if not isinstance(command, click.Group):
            return True
        found = command.get_command(click.Context(command), word)
        if found is None:
            return False
        command = found
    return True


@pytest.mark.parametrize("table", [test_package.CONTROLLER, test_package.HOST], ids=["controller", "host"])
def test_the_page_about_architecture_shows_the_packages_and_their_imports(table: dict[str, set[str]]) -> None:
    page = (tree.ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    shown = {row[0]: set(re.findall(r"`(\w+)`", row[1])) for row in PACKAGE_ROW.findall(page)}
    for package, imports in table.items():
        if package in ("", "shared", "cli", "__main__"):  # no packages, and what may import everything
            continue
        assert shown[package] == imports - {"", "shared"}, package
