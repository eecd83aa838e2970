# SPDX-License-Identifier: Apache-2.0
"""Run the action plugin on words whose templates only Ansible can resolve."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from provisioner.ansible.action.provision_services import ActionModule, _trusted

pytestmark = pytest.mark.usefixtures("made_up_engine")


def run(**given: Any) -> dict[str, Any]:
    loader = DataLoader()
    words = _trusted({"serve_engine": "abacus", "serve_model": "owner/beads", **given})
    task = Mock(async_val=0, args={})
    plugin = ActionModule(task, Mock(), Mock(check_mode=False), loader, Templar(loader, words), None)
    result: dict[str, Any] = plugin.run(task_vars=words)
    return result


def test_each_service_is_one_flat_mapping_and_each_model_stands_once() -> None:
    both = [{"serve_name": "a"}, {"serve_name": "b", "serve_port": 7001}]
    facts = run(serve_services=both)["ansible_facts"]
    first, second = facts["provision_services"]
    assert (first["unit"], second["unit"]) == ("abacus@a.service", "abacus@b.service")
    (model,) = facts["provision_models"]
    assert (model["format"], model["services"]) == ("gguf", ["a", "b"])
    assert model["directory"] == first["model_dir"] == second["model_dir"]


def test_a_resolved_profile_and_a_resolved_variable_reach_the_role() -> None:
    words = {"serve_profile": "{{ 'through' ~ 'put' }}", "serve_env": {"ABACUS_FRAME": "{{ 'oak' }}"}}
    (found,) = run(**words)["ansible_facts"]["provision_services"]
    assert (found["engine_abacus_beads"], found["engine_abacus_rows"]) == (50, 4)
    assert (found["engine_abacus_frame"], found["serve_env"]) == ("oak", {})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"engine_abacus_beads": "{{ 100 + 1 }}"}, "engine_abacus_beads = 101 must be between 1 and 100"),
        ({"serve_env": "{{ {'ABACUS_BEDS': 1} }}"}, "did you mean ABACUS_BEADS?"),
        ({"engine_abacus_frame": "{{ 'steel' }}", "engine_abacus_varnish": True}, "metal cannot be"),
        ({"serve_profile": "{{ 'memory' }}"}, "serve_profile = 'memory' is not a profile of Abacus"),
    ],
)
def test_what_only_run_time_shows_is_refused_by_the_same_rules(given: dict[str, Any], says: str) -> None:
    result = run(**given)
    assert result["failed"]
    assert says in result["msg"]
