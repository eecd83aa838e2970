# SPDX-License-Identifier: Apache-2.0
"""Hold the package to its laws: who imports whom, who prints, who starts processes, how long things are."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import tree

CEILING_OF_A_MODULE = 300
CEILING_OF_A_FUNCTION = 40

GROUND = (
    "bindings",
    "content",
    "documents",
    "errors",
    "plain",
    "settings",
    "versions",
)
# Modules for hosts that the controller imports as well: what both sides must agree on is written once, there,
# and imports nothing but the standard library and other modules of this list.
SHARED = {"engine.client", "host.fault", "host.outward", "host.payload", "host.proxy"}
# Which packages a package may import, itself aside. The ground is the modules beside the packages, and
# `ansible` is the plugins that run on the controller: they write the events that `runs` declares and reads.
CONTROLLER = {
    "": set(),
    "shared": set(),
    "fleet": {"", "shared"},
    "runs": {"", "shared", "fleet"},
    "remote": {"", "shared", "fleet", "runs"},
    "lab": {"", "fleet"},
    "ansible": {"", "shared", "fleet", "runs"},
    "cli": {"", "shared", "fleet", "runs", "remote", "lab"},
    "__main__": {"cli"},
}
HOST = {
    "host": set(),
    "jobs": {"host"},
    "fetch": {"host", "jobs"},
    "gpu": {"host"},
    "driver": {"host", "jobs", "fetch", "gpu"},
    "cuda": {"host", "jobs", "fetch", "gpu", "driver"},
    "containers": {"host", "jobs", "gpu", "driver"},
    "python": {"host", "jobs", "fetch"},
    "models": {"host", "jobs"},
    "engine": {"host", "jobs", "gpu"},
    "day_two": {"host", "gpu", "engine"},
}
# What the modules of an engine's role may import: layers that serve engines, and never another role's.
ENGINES_MAY = {"host", "jobs", "fetch", "gpu", "python", "models", "engine"}
SENT = tree.PACKAGE / "ansible/module_utils/provision"
# The one part of it that runs only inside a module, never in a job or a day-two program.
ENTRY = SENT / "host/entry.py"

STARTERS = {"asyncio.subprocess", "multiprocessing", "pty", "subprocess"}
STARTING_CALLS = ("fork", "system", "popen", "posix_spawn", "exec", "spawn")
MAY_START = {
    "provisioner/fleet/inventory.py",
    "provisioner/lab/process.py",
    "provisioner/remote/session.py",
    "provisioner/runs/run.py",
}
# Programs of their own, which the lab starts with another Python: the hub, and the maker of its model.
PROGRAMS = {"provisioner/lab/hub.py", "provisioner/lab/model.py", "provisioner/lab/model_convert.py"}

OURS = [path for path in tree.modules() if "ansible" not in path.relative_to(tree.PACKAGE).parts]
EVERY_MODULE = pytest.mark.parametrize("path", [*tree.modules(), *tree.role_modules()], ids=tree.relative)
PLUGINS = [
    path
    for path in tree.modules()
    if path.relative_to(tree.PACKAGE).parts[0] == "ansible"
    and not {"module_utils", "modules"} & set(path.relative_to(tree.PACKAGE).parts)
]
EVERY_MODULE_OF_OURS = pytest.mark.parametrize("path", OURS, ids=tree.relative)


@pytest.mark.parametrize("path", OURS + PLUGINS, ids=tree.relative)
def test_imports_keep_to_the_table(path: Path) -> None:
    unit = _unit(path)
    assert unit in CONTROLLER, "give the new package its row in CONTROLLER, or the module its place in GROUND"
    assert set(_imported_units(path)) <= CONTROLLER[unit] | {unit}


@pytest.mark.parametrize("path", sorted(SENT.rglob("*.py")), ids=tree.relative)
def test_imports_on_hosts_keep_to_the_table(path: Path) -> None:
    package = path.relative_to(SENT).parts[0]
    if package == "__init__.py":
        return
    assert package in HOST, "give the new package its row in HOST"
    assert {name for name in _packages_of_hosts(path) if name} <= HOST[package] | {package}


@pytest.mark.parametrize("path", tree.role_modules(), ids=tree.relative)
def test_modules_of_a_role_keep_to_the_layers_of_engines(path: Path) -> None:
    role = path.relative_to(tree.ROOT / "roles").parts[0]
    sent = [name.split(".") for name in _all_imports(path) if name.startswith("ansible.module_utils.")]
    packages = {parts[3] for parts in sent if parts[2:3] == ["provision"] and parts[3:]}
    assert packages <= ENGINES_MAY
    assert {parts[2] for parts in sent if parts[2].startswith("engine_")} <= {role}


@pytest.mark.parametrize("name", sorted(SHARED))
def test_a_shared_module_stands_alone(name: str) -> None:
    nodes = ast.walk(tree.parsed(SENT / f"{name.replace('.', '/')}.py"))
    relative = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and node.level}
    assert relative <= SHARED


@pytest.mark.parametrize("package", HOST)
def test_a_package_for_hosts_says_what_it_imports(package: str) -> None:
    text = ast.get_docstring(tree.parsed(SENT / package / "__init__.py")) or ""
    said = text.partition("Imports ")[2]
    assert {name for name in HOST if name in said.replace(".", "").replace(",", "").split()} == HOST[package]


def test_the_tables_form_no_circle() -> None:
    for table in (CONTROLLER, HOST):
        list(graphlib.TopologicalSorter(table).static_order())


def test_imports_form_no_circle() -> None:
    graph = {_dotted(path): set(_imports(path)) for path in OURS}
    list(graphlib.TopologicalSorter({name: needs - {name} for name, needs in graph.items()}).static_order())


@EVERY_MODULE_OF_OURS
def test_only_the_command_line_prints_and_exits(path: Path) -> None:
    if _unit(path) in {"cli", "__main__"} or tree.relative(path) in PROGRAMS:
        return
    assert not [
        line for name, line in _calls(path) if name in {"print", "exit", "quit", "sys.exit", "os._exit"}
    ]
    assert not [line for name, line in _attributes(path) if name in {"sys.stdout", "sys.stderr"}]


@EVERY_MODULE_OF_OURS
def test_few_modules_start_processes(path: Path) -> None:
    if tree.relative(path) in MAY_START:
        return
    assert not STARTERS & set(_all_imports(path))
    calls = [name.removeprefix("os.") for name, _ in _calls(path) if name.startswith("os.")]
    assert not [name for name in calls if name.startswith(STARTING_CALLS)]


@EVERY_MODULE
def test_says_what_it_owns_and_under_which_licence(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "# SPDX-License-Identifier: Apache-2.0" in text.splitlines()[:2]
    assert ast.get_docstring(tree.parsed(path))
    code = [node for node in tree.parsed(path).body if not isinstance(node, ast.Expr)]
    assert not code or "from __future__ import annotations" in text


@EVERY_MODULE
def test_a_module_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= CEILING_OF_A_MODULE


@EVERY_MODULE
def test_functions_are_short(path: Path) -> None:
    nodes = (node for node in ast.walk(tree.parsed(path)) if isinstance(node, ast.FunctionDef))
    lengths = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in nodes}
    assert not {name: length for name, length in lengths.items() if length > CEILING_OF_A_FUNCTION}


def _unit(path: Path) -> str:
    """Return the package that a module counts under; empty for the ground."""
    return _unit_of(path.relative_to(tree.PACKAGE).parts[0].removesuffix(".py"))


def _unit_of(name: str) -> str:
    return "" if name in ("", "__init__", *GROUND) else name


def _packages_of_hosts(path: Path) -> Iterator[str]:
    """Yield the packages for hosts that one of their modules imports, all by relative imports."""
    above = len(path.relative_to(SENT).parts)
    for node in ast.walk(tree.parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.level == above:
            yield from [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ansible.module_utils"):
            known = {"ansible.module_utils.basic"} if path == ENTRY else {"ansible.module_utils.pynvml"}
            assert node.module in known, "import siblings relatively"


def _dotted(path: Path) -> str:
    parts = path.relative_to(tree.ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> Iterator[str]:
    """Yield the modules of the package that a module imports."""
    known = {_dotted(other) for other in tree.modules()}
    for node in ast.walk(tree.parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from members & known or {str(node.module)}


def _imported_units(path: Path) -> Iterator[str]:
    for name in _imports(path):
        _, _, rest = name.partition(".")
        shared = rest.removeprefix("ansible.module_utils.provision.") in SHARED
        yield "shared" if shared else _unit_of(rest.split(".")[0])


def _all_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(tree.parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def _calls(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree.parsed(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


def _attributes(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree.parsed(path)):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node), node.lineno
