# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from provisioner.errors import LabError
from provisioner.lab.releases import Release
from provisioner.lab.spec import HostSpec, LabSpec, from_inventory

HERE = {"ansible_host": "127.0.0.1"}


def test_an_inventory_becomes_a_lab() -> None:
    words = {"lab_name": "mine", "lab_hub_port": 2999}
    lab = from_inventory(
        {
            "one": {**HERE, **words, "ansible_port": 2301},
            "two": {**HERE, **words, "ansible_port": "2302", "lab_image": "debian-unstable"},
        }
    )
    assert lab == LabSpec("mine", (HostSpec("one", 2301), HostSpec("two", 2302, "debian-unstable")), 2999)
    assert lab.ports == {"one": 2301, "two": 2302}


@pytest.mark.parametrize(
    ("hosts", "complaint"),
    [
        (
            {"one": {**HERE, "ansible_port": 2301, "lab_releases": ["ollama-0.33.0"]}},
            "one: lab_releases 'ollama-0.33.0' is not of the form ollama=0.33.0",
        ),
        ({}, "no hosts"),
        ({"one": {"ansible_host": "192.0.2.1", "ansible_port": 2301}}, "one: ansible_host must be 127.0.0.1"),
        ({"one": HERE}, "one: ansible_port must be a number"),
        ({"one": {**HERE, "ansible_port": 22}}, "one: ansible_port must be a number"),
        ({"One": {**HERE, "ansible_port": 2301}}, "One: a lab host's name"),
        ({"hub": {**HERE, "ansible_port": 2301}}, "hub: a lab host's name"),
        ({"one": {**HERE, "ansible_port": 2301, "lab_image": "arch"}}, "'arch' is not one of debian12, "),
        ({"one": {**HERE, "ansible_port": 2301, "lab_name": "a b"}}, "lab_name: 'a b' is not a valid name"),
        ({"one": {**HERE, "ansible_port": 2280}}, "port 2280 is used by one and hub"),
        (
            {"one": {**HERE, "ansible_port": 2301}, "two": {**HERE, "ansible_port": 2301}},
            "port 2301 is used by one and two",
        ),
        (
            {"one": {**HERE, "ansible_port": 2301, "lab_name": "a"}, "two": {**HERE, "ansible_port": 2302}},
            "lab_name differs between hosts: a, lab",
        ),
    ],
)
def test_what_cannot_be_a_lab_is_refused(hosts: dict[str, dict[str, Any]], complaint: str) -> None:
    with pytest.raises(LabError) as refused:
        from_inventory(hosts)
    assert complaint in refused.value.message


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(LabError) as refused:
        from_inventory({"One": {"ansible_host": "192.0.2.1", "ansible_port": 1, "lab_image": "x"}})
    assert refused.value.message.count(";") == 3


@pytest.mark.parametrize("asked", [["ollama=0.33.0", "ollama=0.17.4"], "ollama=0.33.0, ollama=0.17.4"])
def test_hosts_ask_for_releases_and_the_lab_has_each_once(asked: Any) -> None:
    both = (Release("ollama", "0.33.0"), Release("ollama", "0.17.4"))
    lab = from_inventory(
        {
            "one": {**HERE, "ansible_port": 2301, "lab_releases": asked},
            "two": {**HERE, "ansible_port": 2302, "lab_releases": ["ollama=0.17.4"]},
            "three": {**HERE, "ansible_port": 2303, "lab_releases": ""},
        }
    )
    assert lab.releases == both
    assert lab.hosts[2].releases == ()
