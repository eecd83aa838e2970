# SPDX-License-Identifier: Apache-2.0
"""Every template can be read by Jinja and uses only names that a role gives it."""

from __future__ import annotations

from pathlib import Path

import jinja2
import jinja2.meta
import pytest

from tests.contract import tree

TEMPLATES = sorted(
    [*(tree.ROOT / "templates").rglob("*.j2"), *(tree.ROOT / "roles").glob("*/templates/**/*.j2")]
)
# What every play of ours sets, and what Ansible itself gives a template.
GIVEN = {"ansible_facts", "ansible_managed", "inventory_hostname", "item", "service"}


@pytest.mark.parametrize("path", TEMPLATES, ids=tree.relative)
def test_uses_names_that_a_role_gives(path: Path) -> None:
    syntax = jinja2.Environment(extensions=["jinja2.ext.do"], autoescape=False)  # noqa: S701 - it renders no page
    names = jinja2.meta.find_undeclared_variables(syntax.parse(path.read_text(encoding="utf-8")))
    unknown = [name for name in names - GIVEN if not name.removeprefix("__").startswith(_prefixes(path))]
    assert not unknown


@pytest.mark.parametrize("path", TEMPLATES, ids=tree.relative)
def test_is_used(path: Path) -> None:
    folders = (
        tree.ROLES
        if path.parent.name == "templates" and path.parent.parent == tree.ROOT
        else [path.parents[1]]
    )
    texts = [text for role in folders for text in sorted((role / "tasks").rglob("*.yml"))]
    assert any(path.name in text.read_text(encoding="utf-8") for text in texts)


def _prefixes(path: Path) -> tuple[str, ...]:
    """Return how names may start: with the role that owns the template, or with any role for a shared one."""
    owner = path.relative_to(tree.ROOT).parts[1]
    owners = [role.name for role in tree.ROLES if role.name == owner] or [role.name for role in tree.ROLES]
    return tuple(f"{name}_" for name in owners)
