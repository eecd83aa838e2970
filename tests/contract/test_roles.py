# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible.playbook.handler import Handler

from provisioner.ansible.polling import TIMEOUT_SECONDS
from tests.contract import tree

REQUIRED = ("README.md", "meta/argument_specs.yml", "meta/main.yml", "tasks/main.yml")
EVERY_ROLE = pytest.mark.parametrize("role", tree.ROLES, ids=lambda role: role.name)
ENTRIES = ("main", "verify", "remove")
TASK_KEYWORDS = set(Handler.fattributes)  # what Ansible itself says a task may hold
# What engines install themselves with, whichever of them are there.
INSTALLERS = {"release_archive"}
# Each folder of modules, and the one where their action plugins are.
FOLDERS = {
    tree.PACKAGE / "ansible/modules": tree.PACKAGE / "ansible/action",
    **{role / "library": role / "action_plugins" for role in tree.ROLES},
}
MODULES = sorted(path for folder in FOLDERS for path in folder.glob("*.py"))
POLLED = [
    path
    for path in MODULES
    if (plugin := FOLDERS[path.parent] / path.name).is_file()
    and "(PollingAction)" in plugin.read_text(encoding="utf-8")
]
PUBLIC = re.compile(r"[a-z][a-z0-9_]*\Z")


def test_there_are_roles() -> None:
    assert tree.ROLES
    assert tree.ENGINES


@EVERY_ROLE
def test_has_the_files_that_every_role_has(role: Path) -> None:
    missing = [name for name in REQUIRED if not (role / name).is_file()]
    assert not missing


@EVERY_ROLE
def test_every_entry_of_the_spec_is_a_tasks_file(role: Path) -> None:
    # Where an entry only describes data (engine_common's `service`), nothing includes it by that name.
    included = {entry for _, name, entry in tree.inclusions() if _matches(name, role)}
    missing = [
        name for name in tree.specs(role) if name in included and not (role / f"tasks/{name}.yml").is_file()
    ]
    assert not missing


@EVERY_ROLE
def test_every_entry_point_is_in_the_spec(role: Path) -> None:
    offered = {name for name in ENTRIES if (role / f"tasks/{name}.yml").is_file()}
    included = {entry for _, name, entry in tree.inclusions() if _matches(name, role)}
    assert not (offered | included) - set(tree.specs(role))


@EVERY_ROLE
def test_every_default_is_in_the_spec(role: Path) -> None:
    assert not set(tree.mapping(role / "defaults/main.yml")) - set(tree.options(role, "main"))


@EVERY_ROLE
def test_every_word_of_the_spec_has_a_default_or_is_required(role: Path) -> None:
    defaults = tree.mapping(role / "defaults/main.yml")
    loose = [
        name
        for name, option in tree.options(role, "main").items()
        if name not in defaults and not option.get("required")
    ]
    assert not loose


@EVERY_ROLE
def test_every_word_with_choices_starts_at_one_of_them(role: Path) -> None:
    """Ansible refuses an empty default there, and only on the host."""
    choices = {name: option.get("choices") for name, option in tree.options(role, "main").items()}
    wrong = {
        name: value
        for name, value in tree.mapping(role / "defaults/main.yml").items()
        if choices[name] and value not in choices[name]
    }
    assert not wrong


@EVERY_ROLE
def test_the_spec_repeats_no_default_differently(role: Path) -> None:
    defaults = tree.mapping(role / "defaults/main.yml")
    differing = {
        name: (option["default"], defaults[name])
        for name, option in tree.options(role, "main").items()
        if "default" in option and name in defaults and option["default"] != defaults[name]
    }
    assert not differing


@EVERY_ROLE
def test_every_word_is_described(role: Path) -> None:
    silent = [
        f"{entry}.{name}"
        for entry in tree.specs(role)
        for name, option in tree.options(role, entry).items()
        if not option.get("description")
    ]
    assert not silent


@EVERY_ROLE
def test_names_carry_the_role(role: Path) -> None:
    internal = f"__{role.name}_"
    wrong = [
        name for name in tree.mapping(role / "defaults/main.yml") if not name.startswith(f"{role.name}_")
    ]
    wrong += [
        name
        for path in sorted((role / "vars").glob("*.yml"))
        for name in tree.mapping(path)
        if not name.startswith(internal)
    ]
    wrong += [
        task["register"]
        for _, task in tree.role_tasks(role)
        if not task.get("register", internal).startswith((internal, f"{role.name}_"))
    ]
    assert not wrong


@EVERY_ROLE
def test_every_notified_handler_exists(role: Path) -> None:
    handlers = {
        name
        for other in tree.ROLES
        for path in sorted((other / "handlers").glob("*.yml"))
        for task in tree.flatten(tree.load(path))
        for name in (task["name"], *_as_list(task.get("listen")))
    }
    notified = {name for _, task in tree.role_tasks(role) for name in _as_list(task.get("notify"))}
    assert not notified - handlers


@EVERY_ROLE
def test_is_used_by_a_playbook_or_another_role(role: Path) -> None:
    users = [path for path, name, _ in tree.inclusions() if _matches(name, role) and role not in path.parents]
    assert users or role.name in INSTALLERS


@EVERY_ROLE
def test_readme_is_up_to_date(role: Path) -> None:
    readme = role / "README.md"
    assert readme.is_file(), "run scripts/reference"
    assert readme.read_text(encoding="utf-8") == tree.script("reference").readme(role), (
        "run scripts/reference"
    )


def test_includes_name_an_entry_without_extension() -> None:
    # With the extension, Ansible skips the check of the arguments and says nothing.
    wrong = [
        (tree.relative(path), entry)
        for path, _, entry in tree.inclusions()
        if entry.endswith((".yml", ".yaml"))
    ]
    assert not wrong


def test_modules_are_builtin_or_ours() -> None:
    shared = {
        path.stem for kind in ("modules", "action") for path in (tree.PACKAGE / "ansible" / kind).glob("*.py")
    }
    own = {role: {path.stem for path in (role / "library").glob("*.py")} for role in tree.ROLES}
    tasks = [(path, task, shared | own[role]) for role in tree.ROLES for path, task in tree.role_tasks(role)]
    tasks += [(path, task, shared) for path, task in tree.playbook_tasks()]
    foreign = [
        f"{tree.relative(path)}: {key}"
        for path, task, ours in tasks
        for key in task
        if ("." in key and not key.startswith("ansible.builtin."))
        or (PUBLIC.match(key) and key not in ours and key not in TASK_KEYWORDS)
    ]
    assert not foreign


def test_the_type_checker_finds_what_modules_of_roles_import() -> None:
    """By the name that Ansible gives it: a link there to each package that a role brings."""
    links = tree.ROOT / "typings/ansible/module_utils"
    packages = [path.parent for role in tree.ROLES for path in role.glob("module_utils/*/__init__.py")]
    assert packages
    missing = [package for package in packages if (links / package.name).resolve() != package]
    assert not missing, "ln -s ../../../roles/<role>/module_utils/<package> typings/ansible/module_utils/"
    assert all(package.name == package.parents[1].name for package in packages)


def test_no_task_repeats_a_module_that_does_so_itself() -> None:
    """Its action plugin calls it until it has finished, and keeps what `until` forgets: an earlier change."""
    polled = {path.stem for path in POLLED}
    repeated = [
        f"{tree.relative(path)}: {task['name']}"
        for path, task in tree.all_tasks()
        if polled & set(task) and {"until", "retries", "delay"} & set(task)
    ]
    assert polled
    assert not repeated


@pytest.mark.parametrize("path", MODULES, ids=tree.relative)
def test_a_module_of_long_work_is_followed_to_its_end(path: Path) -> None:
    documented = tree.mapping(path.with_suffix(".yml"))
    works = "finished" in documented["RETURN"]
    assert (path in POLLED) == works, "derive an action plugin of its name from PollingAction"
    if works:
        timeout = documented["DOCUMENTATION"]["options"]["timeout"]
        assert (timeout["type"], timeout["default"]) == ("int", TIMEOUT_SECONDS)


@pytest.mark.parametrize("path", MODULES, ids=tree.relative)
def test_a_module_has_the_usual_states(path: Path) -> None:
    """What goes beyond them is an option with a name of its own."""
    options = tree.mapping(path.with_suffix(".yml"))["DOCUMENTATION"]["options"]
    states = options.get("state", {}).get("choices", [])
    assert set(states) <= {"inspected", "present", "absent", "verified"}


def _matches(name: str, role: Path) -> bool:
    """Tell whether an included name, which may be `engine_{{ ... }}`, can mean this role."""
    pattern = re.sub(r"\\\{\\\{.*?\\\}\\\}", "[a-z0-9_]+", re.escape(name))
    return re.fullmatch(pattern, role.name) is not None


def _as_list(value: str | list[str] | None) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else value
