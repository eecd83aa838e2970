# SPDX-License-Identifier: Apache-2.0
"""What runs on a managed host must suit its Python: 3.8, with the standard library and nothing else."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tests.contract import tree

OLDEST = (3, 8)
NEWER_THAN_OLDEST = {"graphlib", "tomllib", "zoneinfo"}
# Modules, what they import, and programs that a role copies.
SENT = [
    *(
        path
        for kind in ("modules", "module_utils")
        for path in (tree.PACKAGE / "ansible" / kind).rglob("*.py")
    ),
    *(path for kind in ("library", "module_utils") for path in tree.ROOT.glob(f"roles/*/{kind}/**/*.py")),
    *tree.ROOT.glob("roles/*/files/*.py"),
    *tree.ROOT.glob("scripts/skeleton/roles/*/files/*.py"),
]
MODULES = [*(tree.PACKAGE / "ansible/modules").glob("*.py"), *tree.ROOT.glob("roles/*/library/*.py")]
EVERY_SENT_FILE = pytest.mark.parametrize("path", sorted(SENT), ids=tree.relative)


@EVERY_SENT_FILE
def test_is_written_in_the_oldest_grammar(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=OLDEST)


@EVERY_SENT_FILE
def test_imports_what_every_host_has(path: Path) -> None:
    allowed = (sys.stdlib_module_names - NEWER_THAN_OLDEST) | {"ansible"}
    foreign = {name for name in _imports(path) if name.split(".")[0] not in allowed}
    assert not foreign
    sent_along = {name for name in _imports(path) if name.startswith("ansible.")}
    assert all(name.startswith("ansible.module_utils") for name in sent_along)


@pytest.mark.parametrize("path", sorted(MODULES), ids=tree.relative)
def test_a_module_documents_itself(path: Path) -> None:
    assigned = {
        target.id
        for node in tree.parsed(path).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert {"DOCUMENTATION", "EXAMPLES", "RETURN"} <= assigned


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(tree.parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module))
    return found
