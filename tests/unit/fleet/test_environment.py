# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from tests.unit.fleet.made_up import reasons, resolve, service

pytestmark = pytest.mark.usefixtures("made_up_engine")


def test_a_variable_with_a_typed_word_becomes_that_word() -> None:
    found = service(serve_env={"ABACUS_BEADS": "7", "WOOD_KIND": "oak"})
    assert found.settings["engine_abacus_beads"] == 7
    assert found.settings["serve_env"] == {"WOOD_KIND": "oak"}
    assert found.spelt == {"engine_abacus_beads": "ABACUS_BEADS"}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("ABACUS_BEADS", "many", "ABACUS_BEADS = many must be a whole number"),
        ("ABACUS_BEADS", 101, "ABACUS_BEADS = 101 must be between 1 and 100"),
        (
            "ABACUS_FRAME",
            "brasss",
            "ABACUS_FRAME = brasss must be one of oak, brass, steel; did you mean brass?",
        ),
        ("ABACUS_HOST", "::", "ABACUS_HOST cannot be given here; use serve_address and serve_port"),
        ("ABACUS_BEDS", 1, "ABACUS_BEDS is not a variable of Abacus; did you mean ABACUS_BEADS?"),
        ("abacus_beads", 1, "abacus_beads is not a variable of Abacus; did you mean ABACUS_BEADS?"),
        ("ABACUS_DEBUGS", 1, "ABACUS_DEBUGS is not a variable of Abacus; did you mean ABACUS_DEBUG?"),
        ("ABACUS_USEGPU", 1, "ABACUS_USEGPU is not a variable of Abacus; beads are moved by hand"),
        (
            "LANG",
            "C",
            "LANG is not a variable of Abacus; `provision engines abacus` lists the variables",
        ),
        ("HOME", "/", "HOME is set from the typed variables of Abacus, which would override it"),
        ("WOOD_KIND", [], "WOOD_KIND must be text or a number"),
        ("WOOD_KIND", "a\nb", "WOOD_KIND must fit on one line"),
        ("WOOD-KIND", 1, "'WOOD-KIND' is not a valid name of an environment variable"),
    ],
)
def test_what_the_engine_does_not_know_or_take_is_refused(name: str, value: Any, expected: str) -> None:
    assert reasons(serve_env={name: value}) == [f"serve_env: {expected}"]


def test_a_secret_goes_by_file_even_where_its_name_is_allowed() -> None:
    (reason,) = reasons(serve_env={"WOOD_API_KEY": "x"})
    assert reason.startswith("serve_env: WOOD_API_KEY looks like a secret")


def test_an_allowed_name_may_be_in_any_case() -> None:
    assert service(serve_env={"wood_kind": "oak"}).settings["serve_env"] == {"wood_kind": "oak"}


def test_a_variable_and_its_word_must_agree() -> None:
    assert service(serve_env={"ABACUS_BEADS": "7"}, engine_abacus_beads=7).spelt == {}
    (reason,) = reasons(serve_env={"ABACUS_BEADS": "7"}, engine_abacus_beads=8)
    assert reason.startswith("serve_env: ABACUS_BEADS = 7 and engine_abacus_beads = 8 contradict each other")
    assert reason.endswith("keep engine_abacus_beads only")


def test_what_only_ansible_can_know_contradicts_nothing() -> None:
    vaulted = {"__ansible_vault": "$ANSIBLE_VAULT"}
    assert not reasons(serve_env={"ABACUS_BEADS": "{{ beads }}"}, engine_abacus_beads=8)
    assert not reasons(serve_env={"WOOD_KIND": vaulted})
    assert not reasons(serve_env=vaulted)
    assert not reasons(serve_env="{{ variables }}")


def test_an_item_wins_over_its_host_by_word_and_by_variable() -> None:
    items = [{"serve_name": "word", "engine_abacus_beads": 3}, {"serve_name": "none", "serve_env": {}}]
    (word, none), findings = resolve(serve_env={"ABACUS_BEADS": 7}, serve_services=items)
    assert [finding.variable for finding in findings] == ["serve_port"]
    assert (word.settings["engine_abacus_beads"], word.spelt) == (3, {})
    assert none.settings["engine_abacus_beads"] == 10


def test_a_mistake_of_the_host_is_found_once_for_all_its_services() -> None:
    items = [{"serve_name": "a"}, {"serve_name": "b", "serve_port": 7001}]
    found = reasons(serve_env={"ABACUS_BEADS": "many"}, serve_services=items)
    assert found == ["serve_env: ABACUS_BEADS = many must be a whole number"]


def test_an_engine_that_says_nothing_of_its_variables_takes_any() -> None:
    assert service(serve_engine="vllm", serve_env={"ABACUS_HOST": "x"}).settings["serve_env"]
