# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from provisioner.fleet import engines, knobs, services, variables
from provisioner.fleet import variables as words
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
    "cuda",
    "reserved_args",
    "argument_hints",
    "both_families",
    "gpu_variables",
    "key_separator",
    "parser",
    "tasks",
    "reserved_env",
    "api_key",
    "unguarded",
    "suggested",
    "default_tag",
    "library",
    "environment",
    "limits",
    "notes",
    "requires",
    "profiles",
    "archives",
    "packages",
}
# A unit, a user and a prefix of variables: `engine_a_b_c` must not be read as a variable of an engine `a`.
NAME = re.compile(r"engine_[a-z][a-z0-9]{1,19}")
# A page, or a file of the engine's own source.
SOURCE = re.compile(r"https://\S+|\b[\w./{},-]+\.(py|go|md|h|cpp)\b")
SHA256 = re.compile(r"[0-9a-f]{64}")
# One version and at least one hash; a direct reference to a file of the registry would lack the first.
PINNED = re.compile(r"[A-Za-z0-9._\[\],-]+==[^\s*;]+\s.*--hash=sha256:[0-9a-f]{64}")


def test_every_role_named_engine_is_an_engine() -> None:
    named = {role for role in tree.ROLES if role.name.startswith("engine_") and role.name != "engine_common"}
    assert named == set(tree.ENGINES)


@EVERY_ENGINE
def test_has_a_name_that_units_users_and_variables_can_carry(role: Path) -> None:
    assert NAME.fullmatch(role.name)


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


def test_one_engine_is_suggested_to_those_who_have_not_chosen() -> None:
    assert len([role for role in tree.ENGINES if tree.mapping(role / "engine.yml").get("suggested")]) == 1


@EVERY_ENGINE
def test_no_code_of_the_package_names_it(role: Path) -> None:
    """What is special about an engine is in its folder; only the lab knows the shipped ones."""
    names = (role.name.removeprefix("engine_"), tree.mapping(role / "engine.yml")["title"])
    name = re.compile(rf"(?<![A-Za-z])(?i:{'|'.join(map(re.escape, names))})(?![a-z])")
    named = [
        f"{tree.relative(path)}: {line.strip()}"
        for path in tree.modules()
        if "lab" not in path.relative_to(tree.PACKAGE).parts[:1]
        for line in path.read_text(encoding="utf-8").splitlines()
        if name.search(line)
    ]
    assert not named


@EVERY_ENGINE
def test_offers_every_verb(role: Path) -> None:
    assert {"main", "verify", "remove"} <= set(tree.specs(role))


@EVERY_ENGINE
def test_has_its_device_chosen_before_anything_is_done_or_shown(role: Path) -> None:
    """By the one entry that knows GPUs, which a small file of the role tells what the engine needs."""
    if "cuda" not in tree.mapping(role / "engine.yml")["devices"]:
        return
    included = {(name, entry) for path, name, entry in tree.inclusions() if path == role / "tasks/device.yml"}
    assert included == {("engine_common", "device")}
    for file in ("preflight.yml", "verify.yml"):
        tasks = tree.load(role / "tasks" / file)
        assert tasks[0]["ansible.builtin.include_tasks"] == "device.yml"


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
def test_what_it_installs_is_pinned(role: Path) -> None:
    engine = tree.mapping(role / "engine.yml")
    locks = sorted((role / "files").glob("requirements*.txt"))
    loose = [
        f"{lock.name}: {line}" for lock in locks for line in requirements(lock) if not PINNED.match(line)
    ]
    assert not loose
    if engine.get("archives"):
        assert_archives_are_pinned(tree.mapping(role / "files/archives.yml"))
    assert locks or engine.get("archives") or engine.get("packages"), (
        "an engine pins what it installs: files/requirements*.txt or files/archives.yml, or takes packages"
    )


def assert_archives_are_pinned(archives: dict[str, dict[str, str]]) -> None:
    assert archives, "files/archives.yml: version -> architecture -> sha256"
    wrong = [
        (version, architecture)
        for version, hashes in archives.items()
        for architecture, sha256 in hashes.items()
        if not SHA256.fullmatch(sha256)
    ]
    assert not wrong
    assert all(archives.values())


@EVERY_ENGINE
def test_names_only_words_of_its_own(role: Path) -> None:
    engine = engines.read(role / "engine.yml")
    variables = engine.environment.variables.values() if engine.environment else ()
    named = {*variables, *engine.limits, *(word for sets in engine.profiles.values() for word in sets)}
    for requirement in engine.requires:
        named |= {*requirement.when, *requirement.must, *requirement.never}
    assert not named - set(words.load().knobs(engine.name))


@EVERY_ENGINE
def test_its_defaults_and_profiles_are_values_that_it_takes(role: Path) -> None:
    engine, defaults = engines.read(role / "engine.yml"), words.defaults(role.name)
    given = {"serve_engine": engine.name, "serve_model": "owner/model"}
    for profile in (None, *engine.profiles):
        resolved = services.resolve({**given, "serve_profile": profile}, {engine.name: defaults})
        assert not resolved.findings
        (service,) = resolved.services
        assert not [*knobs.limits(service), *knobs.requirements(service), *knobs.profile(service)]
    knobs_of = words.load().knobs(engine.name)
    for sets in engine.profiles.values():
        assert {word: variables.check(knobs_of[word], value) for word, value in sets.items()} == {
            word: (value, None) for word, value in sets.items()
        }


@EVERY_ENGINE
def test_every_profile_is_known_and_makes_a_difference(role: Path) -> None:
    """An engine may have none, or some of them."""
    engine, defaults = engines.read(role / "engine.yml"), words.defaults(role.name)
    assert not set(engine.profiles) - set(words.load().variables["serve_profile"].choices)
    idle = [
        (name, word)
        for name, sets in engine.profiles.items()
        for word, value in sets.items()
        if defaults[word] == value
    ]
    assert not idle
    assert all(engine.profiles.values())


@EVERY_ENGINE
def test_every_value_of_a_profile_has_its_source_above_it(role: Path) -> None:
    lines = (role / "engine.yml").read_text(encoding="utf-8").splitlines()
    below = itertools.dropwhile(lambda each: each != "profiles:", lines)
    unsourced, has_source = [], False
    for line in itertools.takewhile(lambda each: each.startswith(" "), itertools.islice(below, 1, None)):
        text = line.strip()
        if text.startswith("#"):
            has_source = has_source or bool(SOURCE.search(text))
        elif not text.startswith("engine_"):
            has_source = False  # the name of the next profile
        elif not has_source:
            unsourced.append(text)
    assert not unsourced


def requirements(lock: Path) -> list[str]:
    """Return a lock's requirements, each as one line with its hashes; without comments and options."""
    lines = lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith(("#", "-"))]


@EVERY_ENGINE
def test_settings_and_their_causes_have_the_keys_that_are_specified(role: Path) -> None:
    """Nothing else checks them before a verification on a host."""
    options = tree.specs(tree.ROOT / "roles/engine_common")["verify"]["options"]
    variables = tree.load(role / "vars/main.yml") if (role / "vars/main.yml").exists() else {}
    given = dict(variables or {})
    for task in tree.load(role / "tasks/verify.yml"):
        given |= task.get("vars", {})
    for name in ("settings", "setting_causes"):
        known = set(options[f"engine_common_{name}"]["options"])
        for entries in (value for key, value in given.items() if key.endswith(name)):
            wrong = [key for entry in entries if isinstance(entry, dict) for key in set(entry) - known]
            assert not wrong
