# SPDX-License-Identifier: Apache-2.0
"""A new engine passes every check before it is changed, under the shortest and the longest name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract import tree

SKELETON = tree.ROOT / "scripts/skeleton"
NAMES = (("zq", ""), ("sketchofanewengine20", "Sketch of a new engine 4"))
# The contract tests that look at roles and at the data beside them: at the new ones, or at all together.
KINDS = ("engines", "inventories", "reference", "results", "roles", "targets")
CHECKS = [f"tests/contract/test_{name}.py" for name in KINDS]
CHOSEN = " or ".join(
    [f"engine_{name} or /{name}.ini" for name, _ in NAMES] + ["not (engine_ or provisioner)"]
)
INVENTORY = "box serve_engine=zq serve_model=/models/a serve_model_source=path"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the repository, with two new engines."""
    copy = tree.copy(tmp_path_factory.mktemp("checkout"))
    for name, title in NAMES:
        done = run(copy, "scripts/new-engine", name, *filter(None, [title]))
        assert done.returncode == 0, done.stderr
        assert f"edit in roles/engine_{name}:" in done.stdout
    return copy


def run(checkout: Path, *command: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, *command]
    return subprocess.run(argv, cwd=checkout, capture_output=True, text=True, check=False)


def test_new_engines_pass_the_contract_tests(checkout: Path) -> None:
    options = ("-q", "-n", "0", "-p", "no:cacheprovider", "-k", CHOSEN)
    done = run(checkout, "-m", "pytest", *options, *CHECKS)
    assert done.returncode == 0, done.stdout
    for name, _ in NAMES:
        assert (checkout / f"roles/engine_{name}/README.md").is_file()
        assert (checkout / f"molecule/engine/{name}.ini").is_file()


@pytest.mark.parametrize("tool", [("ruff", "check"), ("ruff", "format", "--check"), ("yamllint", "--strict")])
def test_new_engines_pass_the_linters(checkout: Path, tool: tuple[str, ...]) -> None:
    folders = [f"roles/engine_{name}" for name, _ in NAMES]
    done = run(checkout, "-m", *tool, *folders)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_of_the_examples_and_of_the_made_up_engine_is_left(checkout: Path) -> None:
    written = [
        path
        for name, _ in NAMES
        for path in (checkout / f"roles/engine_{name}").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    ]
    texts = {path.name: path.read_text(encoding="utf-8") for path in written}
    assert texts
    assert not [name for name, text in texts.items() if "abacus" in text.lower() or "bead" in text]
    assert not [name for name, text in texts.items() if "# --" in text]


def test_each_new_engine_has_a_port_of_its_own(checkout: Path) -> None:
    ports = [tree.mapping(path)["port"] for path in checkout.glob("roles/engine_*/engine.yml")]
    assert len(set(ports)) == len(ports) == len(tree.ENGINES) + len(NAMES)


def test_a_new_engine_refuses_a_profile(checkout: Path) -> None:
    (checkout / "box.ini").write_text(f"{INVENTORY} serve_profile=latency\n", encoding="utf-8")
    done = run(checkout, "-m", "provisioner", "plan", "box.ini")
    assert done.returncode == 2
    assert "cannot be set: Zq has no profiles" in " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["zq"], "zq is taken: roles/engine_zq exists"),
        (["common"], "common is taken: the role engine_common serves all engines"),
        (["abacus"], "abacus is the made-up engine"),
        (["root"], "root is taken: "),
        (["my_engine"], "'my_engine' is not a name for an engine: use 2 to 20 of a-z and 0-9"),
        (["9lives"], "'9lives' is not a name"),
        (["a" * 21], "is not a name"),
        (["fresh", "Fresh: engine"], "'Fresh: engine' is not a title"),
    ],
)
def test_a_name_that_is_wrong_or_taken_is_refused(checkout: Path, arguments: list[str], reason: str) -> None:
    before = sorted(checkout.rglob("*.yml"))
    done = run(checkout, "scripts/new-engine", *arguments)
    assert done.returncode == 2
    assert reason in done.stderr
    assert sorted(checkout.rglob("*.yml")) == before
