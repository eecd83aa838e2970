# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.contract import tree

EVERY_ENGINE = pytest.mark.parametrize("role", tree.ENGINES, ids=lambda role: role.name)
FILES = (
    "defaults/main.yml",
    "engine.yml",
    "tasks/main.yml",
    "tasks/verify.yml",
    "tasks/remove.yml",
)
KEYS = {"title", "port", "health_path", "api", "formats", "sources", "devices"}
OPTIONAL_KEYS = {
    "versions",
    "minimum_driver",
    "minimum_compute_capability",
    "reserved_args",
    "reserved_env",
}
# One version and at least one hash; a direct reference to a file of the registry would lack the first.
PINNED = re.compile(r"[A-Za-z0-9._\[\],-]+==[^\s*;]+\s.*--hash=sha256:[0-9a-f]{64}")


def test_every_role_named_engine_is_an_engine() -> None:
    named = {role for role in tree.ROLES if role.name.startswith("engine_") and role.name != "engine_common"}
    assert named == set(tree.ENGINES)


@EVERY_ENGINE
def test_has_the_files_that_every_engine_has(role: Path) -> None:
    assert not [name for name in FILES if not (role / name).is_file()]


@EVERY_ENGINE
def test_describes_itself(role: Path) -> None:
    engine = tree.mapping(role / "engine.yml")
    assert not KEYS - set(engine)
    assert not set(engine) - KEYS - OPTIONAL_KEYS
    assert 1024 <= engine["port"] <= 65535
    assert engine["health_path"].startswith("/")


@EVERY_ENGINE
def test_offers_every_verb(role: Path) -> None:
    assert {"main", "verify", "remove"} <= set(tree.specs(role))


@EVERY_ENGINE
def test_its_port_is_its_own(role: Path) -> None:
    port = tree.mapping(role / "engine.yml")["port"]
    others = [
        other.name
        for other in tree.ENGINES
        if other != role and tree.mapping(other / "engine.yml")["port"] == port
    ]
    assert not others


@EVERY_ENGINE
def test_its_packages_are_locked(role: Path) -> None:
    locks = sorted((role / "files").glob("requirements*.txt"))
    assert locks, "an engine pins what it installs in files/requirements*.txt"
    loose = [
        f"{lock.name}: {line}" for lock in locks for line in requirements(lock) if not PINNED.match(line)
    ]
    assert not loose


def requirements(lock: Path) -> list[str]:
    """Return a lock's requirements, each as one line with its hashes; without comments and options."""
    lines = lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith(("#", "-"))]
