# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.contract import tree

SITE = tree.ROOT / "playbooks" / "site.yml"
ORDER = ["preflight", "host", "gpu", "models", "serve", "verify"]
PHASES = [path for path in tree.PLAYBOOKS if path != SITE]
EVERY_PHASE = pytest.mark.parametrize("playbook", PHASES, ids=lambda path: path.stem)
# What a play may say; logic belongs into a role.
PLAY_KEYS = {
    "become",
    "gather_facts",
    "hosts",
    "name",
    "roles",
    "tags",
    "tasks",
    "vars",
    "any_errors_fatal",
    "serial",
    "strategy",
}


def imports() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tree.load(SITE)
    return found


def test_site_imports_and_nothing_else() -> None:
    assert all(set(entry) <= {"name", "ansible.builtin.import_playbook", "tags"} for entry in imports())


def test_site_keeps_the_order_of_the_phases() -> None:
    stems = [Path(entry["ansible.builtin.import_playbook"]).stem for entry in imports()]
    assert stems == [phase for phase in ORDER if phase in stems]
    assert {"preflight", "host", "models", "serve", "verify"} <= set(stems)


@pytest.mark.parametrize("entry", imports(), ids=lambda entry: entry["name"])
def test_import_play_and_tag_carry_the_name_of_the_phase(entry: dict[str, Any]) -> None:
    phase = Path(entry["ansible.builtin.import_playbook"]).stem
    plays = tree.load(SITE.with_name(f"{phase}.yml"))
    assert entry["name"] == phase.capitalize()
    assert entry["tags"] == ([phase, "always"] if phase == "preflight" else [phase])
    assert phase.capitalize() in [play.get("name") for play in plays]


@EVERY_PHASE
def test_a_play_holds_hosts_and_roles(playbook: Path) -> None:
    for play in tree.load(playbook):
        if "ansible.builtin.import_playbook" in play:
            continue
        assert set(play) <= PLAY_KEYS
        assert play["gather_facts"] is False
        # Or a host that hangs would hold up all others.
        assert play["strategy"] == "free"


@EVERY_PHASE
def test_every_role_that_is_named_exists(playbook: Path) -> None:
    names = [name for path, name, _ in tree.inclusions() if path == playbook and "{{" not in name]
    assert not set(names) - {role.name for role in tree.ROLES}
