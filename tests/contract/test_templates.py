# SPDX-License-Identifier: Apache-2.0
"""Every template can be read by Jinja, uses only names that a role gives it, and is used itself."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import jinja2.nodes
import pytest

from tests.contract import tree

TEMPLATES = sorted(
    [*(tree.ROOT / "templates").rglob("*.j2"), *(tree.ROOT / "roles").glob("*/templates/**/*.j2")]
)
EVERY_TEMPLATE = pytest.mark.parametrize("path", TEMPLATES, ids=tree.relative)
ENVIRONMENT = jinja2.Environment(extensions=["jinja2.ext.do"], autoescape=False)  # noqa: S701 - it only parses
# What every play of ours sets, what Ansible gives a template, and what Jinja does.
GIVEN = {
    "ansible_facts",
    "ansible_managed",
    "inventory_hostname",
    "item",
    "lookup",
    "query",
    "range",
    "service",
}


@EVERY_TEMPLATE
def test_uses_names_that_a_role_gives(path: Path) -> None:
    names = list(ENVIRONMENT.parse(path.read_text(encoding="utf-8")).find_all(jinja2.nodes.Name))
    own = {node.name for node in names if node.ctx != "load"} | GIVEN
    unknown = {
        node.name for node in names if not node.name.removeprefix("__").startswith(_prefixes(path))
    } - own
    assert not {name for name in unknown if not _is_given(name, path)}


@EVERY_TEMPLATE
def test_is_used(path: Path) -> None:
    assert _users(path)


def _users(path: Path) -> list[str]:
    """Return the texts of the files that refer to a template."""
    owner = path.parents[1]
    folders = tree.ROLES if owner == tree.ROOT else [owner]
    files = [
        file for folder in folders for file in sorted(folder.rglob("*")) if file.suffix in {".yml", ".j2"}
    ]
    texts = (file.read_text(encoding="utf-8") for file in files if file != path)
    return [text for text in texts if path.name in text]


def _is_given(name: str, path: Path) -> bool:
    """Tell whether every task that renders a shared template gives it this name."""
    return all(re.search(rf"^ +{name}: ", text, re.MULTILINE) for text in _users(path))


def _prefixes(path: Path) -> tuple[str, ...]:
    """Return how names may start: with the role that owns the template, or with any role for a shared one."""
    owner = path.relative_to(tree.ROOT).parts[1]
    owners = [role.name for role in tree.ROLES if role.name == owner] or [role.name for role in tree.ROLES]
    return tuple(f"{name}_" for name in owners)
