# SPDX-License-Identifier: Apache-2.0
"""Read the repository's own files: roles, playbooks and package, as the contract tests look at them."""

from __future__ import annotations

import ast
import functools
import importlib.machinery
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "provisioner"
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
ROLES = sorted(path for path in (ROOT / "roles").glob("*") if path.is_dir())
ENGINES = [role for role in ROLES if (role / "engine.yml").is_file()]


# Keys of a task that are not the module it calls.
BLOCKS = ("block", "rescue", "always")
INCLUDES = tuple(f"ansible.builtin.{verb}_role" for verb in ("include", "import"))


class Loader(yaml.CSafeLoader):
    """Read Ansible's own tags as the plain values they wrap."""


def _plain(loader: yaml.CSafeLoader, _suffix: str, node: yaml.Node) -> object:
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


Loader.add_multi_constructor("!", _plain)


@functools.cache
def load(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Loader)  # noqa: S506 - a SafeLoader with two more tags


def mapping(path: Path) -> dict[str, Any]:
    return (load(path) or {}) if path.is_file() else {}


def specs(role: Path) -> dict[str, Any]:
    found: dict[str, Any] = mapping(role / "meta/argument_specs.yml").get("argument_specs", {})
    return found


def results(role: Path) -> dict[str, Any]:
    found: dict[str, Any] = mapping(role / "meta/results.yml").get("results", {})
    return found


def options(role: Path, entry: str) -> dict[str, Any]:
    return specs(role).get(entry, {}).get("options") or {}


def flatten(tasks: list[dict[str, Any]] | None) -> Iterator[dict[str, Any]]:
    """Yield the tasks of a list, those inside blocks included."""
    for task in tasks or ():
        if "block" in task:
            for key in BLOCKS:
                yield from flatten(task.get(key))
        else:
            yield task


def role_tasks(role: Path) -> list[tuple[Path, dict[str, Any]]]:
    files = sorted([*(role / "tasks").rglob("*.yml"), *(role / "handlers").rglob("*.yml")])
    return [(path, task) for path in files for task in flatten(load(path))]


def playbook_tasks() -> list[tuple[Path, dict[str, Any]]]:
    found = []
    for path in PLAYBOOKS:
        for play in load(path):
            for key in ("pre_tasks", "tasks", "post_tasks", "handlers"):
                found += [(path, task) for task in flatten(play.get(key))]
    return found


def all_tasks() -> list[tuple[Path, dict[str, Any]]]:
    return [*(pair for role in ROLES for pair in role_tasks(role)), *playbook_tasks()]


def inclusions() -> list[tuple[Path, str, str]]:
    """Return who includes which role at which entry point; a play's `roles:` enter at main."""
    found = [
        (path, task[verb]["name"], task[verb].get("tasks_from", "main"))
        for path, task in all_tasks()
        for verb in INCLUDES
        if verb in task
    ]
    return found + [
        (path, role if isinstance(role, str) else role["role"], "main")
        for path in PLAYBOOKS
        for play in load(path)
        for role in play.get("roles", ())
    ]


def modules() -> list[Path]:
    """Return every module of the package, those of the shipped content excepted."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if "_content" not in path.parts]


def role_modules() -> list[Path]:
    """Return every module that a role brings, for hosts and for the controller."""
    return sorted(path for role in ROLES for path in role.rglob("*.py"))


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def tracked() -> list[Path]:
    """Return every file that git knows or would take."""
    return [path for path in _listed() if path.is_file()]


def _listed() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [ROOT / name for name in listing.split("\0") if name]


def copy(target: Path) -> Path:
    """Make a copy of the repository, without what git ignores."""
    for path in (path for path in _listed() if path.is_file() or path.is_symlink()):
        place = target / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place, follow_symlinks=False)
    return target


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def script(name: str) -> ModuleType:
    """Return a Python script of the contributors' tools as a module."""
    loader = importlib.machinery.SourceFileLoader(f"scripts_{name}", str(ROOT / "scripts" / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module  # where dataclasses look for their module
    loader.exec_module(module)
    return module
