# SPDX-License-Identifier: Apache-2.0
"""A role's private names stay inside it; what others may read is declared in its meta/results.yml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.contract import tree

FACT = "ansible_facts."
DECLARED = {name: (role, result) for role in tree.ROLES for name, result in tree.results(role).items()}
EVERY_RESULT = pytest.mark.parametrize("name", sorted(DECLARED))
# Facts of this kind are set for Ansible itself, not for roles.
ANSIBLES_OWN = {"ansible_python_interpreter"}
READERS = (
    *(
        path
        for folder in ("roles", "playbooks", "templates", "docs")
        for path in (tree.ROOT / folder).rglob("*")
    ),
    *(path for folder in ("scripts", "molecule", "bench") for path in (tree.ROOT / folder).rglob("*")),
    *tree.modules(),
)
TEXTS = {
    path: path.read_text(encoding="utf-8")
    for path in READERS
    if path.suffix in {".j2", ".md", ".py", ".yml"} and path.is_file()
}


def test_private_names_stay_inside_their_role() -> None:
    private = re.compile(rf"\b__({'|'.join(role.name for role in tree.ROLES)})_\w+")
    outside = [
        f"{tree.relative(path)}: {found.group()}"
        for path, text in TEXTS.items()
        for found in private.finditer(text)
        if _owner(path) != found.group(1)
    ]
    assert not outside, "declare a result with a public name in meta/results.yml"


def test_what_a_role_sets_is_private_or_declared() -> None:
    wrong = [
        f"{tree.relative(path)}: {name}"
        for role in tree.ROLES
        for path, task in tree.role_tasks(role)
        for name in _set_by(task)
        if not name.startswith(f"__{role.name}_")
        and name not in ANSIBLES_OWN
        and DECLARED.get(name, (None,))[0] != role
    ]
    assert not wrong


@EVERY_RESULT
def test_a_result_is_described(name: str) -> None:
    role, result = DECLARED[name]
    assert set(result) <= {"entries", "module", "description", "keys"}
    assert result["description"]
    assert name.startswith((f"{role.name}_", FACT))
    assert set(result["entries"]) <= set(tree.specs(role))


@EVERY_RESULT
def test_each_entry_sets_its_result(name: str) -> None:
    role, result = DECLARED[name]
    for entry in result["entries"]:
        tasks = list(tree.flatten(tree.load(role / f"tasks/{entry}.yml")))
        if not name.startswith(FACT):
            assert any(name in _set_by(task) for task in tasks)
            continue
        module = result["module"]
        assert any(module in task for task in tasks)
        sources = [tree.PACKAGE / f"ansible/{kind}/{module}.py" for kind in ("modules", "action")]
        assert any(f'"{name.removeprefix(FACT)}"' in path.read_text() for path in sources if path.is_file())


@EVERY_RESULT
def test_a_result_is_read_by_others(name: str) -> None:
    role, _ = DECLARED[name]
    assert [path for path, text in TEXTS.items() if name in text and _owner(path) != role.name]


@EVERY_RESULT
def test_only_declared_keys_are_read(name: str) -> None:
    role, result = DECLARED[name]
    read = {
        (tree.relative(path), key)
        for path, text in TEXTS.items()
        if _owner(path) != role.name and path.suffix != ".md"
        for key in re.findall(rf"\b{re.escape(name)}\.(\w+)", text)
    }
    assert not read or name.startswith(FACT) or {key for _, key in read} <= set(result["keys"]), read


def test_every_fact_is_declared() -> None:
    facts = {
        found
        for path, text in TEXTS.items()
        if path.suffix in {".yml", ".j2"}
        for found in re.findall(r"\bansible_facts\.\w+", text)
    }
    assert facts
    assert not facts - set(DECLARED)


def _owner(path: Path) -> str | None:
    """Return the role that a file belongs to, of the skeleton's too."""
    parts = path.relative_to(tree.ROOT).parts
    return parts[parts.index("roles") + 1] if "roles" in parts[:-1] else None


def _set_by(task: dict[str, Any]) -> list[str]:
    facts = [name for name in task.get("ansible.builtin.set_fact", {}) if name != "cacheable"]
    return [*facts, *([task["register"]] if "register" in task else [])]
