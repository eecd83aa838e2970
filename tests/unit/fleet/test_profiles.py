# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest

from provisioner.fleet import knobs
from provisioner.fleet.services import Profile
from tests.unit.fleet.made_up import reasons, service

pytestmark = pytest.mark.usefixtures("made_up_engine")


def test_a_profile_stands_between_the_role_and_the_inventory() -> None:
    found = service(serve_profile="throughput", engine_abacus_rows=2)
    assert (found.settings["engine_abacus_beads"], found.settings["engine_abacus_rows"]) == (50, 2)
    assert found.profile == Profile("throughput", {"engine_abacus_beads": 50}, {"engine_abacus_rows": 2})


def test_a_variable_wins_over_a_profile_as_its_word_does() -> None:
    found = service(serve_profile="latency", serve_env={"ABACUS_BEADS": 5})
    assert found.settings["engine_abacus_beads"] == 5
    assert found.profile == Profile("latency", {}, {"engine_abacus_beads": 5})


def test_an_item_has_its_own_profile() -> None:
    found = service(serve_profile="latency", serve_services=[{"serve_profile": "throughput"}])
    assert found.settings["engine_abacus_beads"] == 50


def test_without_a_profile_the_role_decides() -> None:
    assert service().profile is None
    unset = service(serve_profile="latency", serve_services=[{"serve_profile": None}])
    assert (unset.profile, unset.settings["engine_abacus_beads"]) == (None, 10)


def test_a_profile_that_only_ansible_can_know_sets_nothing_yet() -> None:
    assert service(serve_profile="{{ later }}").profile == Profile("{{ later }}", {}, {})


def test_a_profile_that_the_engine_lacks_is_refused() -> None:
    assert reasons(serve_profile="memory") == [
        "serve_profile: is not a profile of Abacus; it has latency, throughput"
    ]
    assert reasons(serve_profile="thruput")[0] == (
        "serve_profile: must be one of latency, throughput, memory; did you mean throughput?"
    )


def test_an_engine_without_profiles_refuses_each_of_them() -> None:
    without = replace(service(serve_profile="latency"), engine=replace(service().engine, profiles={}))
    (found,) = knobs.profile(without)
    assert (found.variable, found.value) == ("serve_profile", "latency")
    assert found.reason == "cannot be set: Abacus has no profiles"
    assert found.hint == "remove it, and set the engine's variables instead"
