# SPDX-License-Identifier: Apache-2.0
"""What runs on a managed host must suit its Python: 3.8, with the standard library and nothing else."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule

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
EVERY_MODULE = pytest.mark.parametrize("path", sorted(MODULES), ids=tree.relative)
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


@EVERY_MODULE
def test_a_module_is_documented_in_the_file_beside_it(path: Path) -> None:
    """Compare each option with what the module accepts; the file stays here, so no host is sent it."""
    documented = tree.mapping(path.with_suffix(".yml"))
    assert set(documented) == {"DOCUMENTATION", "EXAMPLES", "RETURN"}
    assert documented["DOCUMENTATION"]["module"] == path.stem
    assert yaml.safe_load(documented["EXAMPLES"])
    options = documented["DOCUMENTATION"].get("options", {})
    assert {name: _accepted(option) for name, option in options.items()} == {
        name: _accepted(option) for name, option in _argument_spec(path).items()
    }


def _accepted(option: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an option takes, whichever of the two places says so."""
    kept = {name: option.get(name) for name in ("default", "choices", "elements")}
    nested = option.get("suboptions", option.get("options")) or {}
    return {
        **kept,
        "type": option.get("type", "str"),
        "required": bool(option.get("required")),
        "options": {name: _accepted(part) for name, part in nested.items()},
    }


def _argument_spec(path: Path) -> dict[str, Any]:
    """Return the options that a module hands to AnsibleModule."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(sys.modules, {path.stem: module}):
        spec.loader.exec_module(module)
        with (
            mock.patch.object(AnsibleModule, "__init__", side_effect=Taken) as taken,
            contextlib.suppress(Taken),
        ):
            module.main()
    arguments = taken.call_args
    found: dict[str, Any] = arguments.kwargs.get("argument_spec") or arguments.args[0]
    return found


class Taken(Exception):
    """Stop a module as soon as it has named its options."""


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(tree.parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module))
    return found
