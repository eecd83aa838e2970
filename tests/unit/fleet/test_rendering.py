# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner.fleet.rendering import Scope
from tests.unit.fleet.test_spec import fleet_of, problems_of

GIVEN = {
    "base": 8000,
    "name": "{{ owner }}/model",
    "owner": "a",
    "ports": {"chat": 8001},
    "secret": {"__ansible_vault": "$ANSIBLE_VAULT"},
    "fact": "{{ ansible_facts.fqdn }}",
    "circle": "{{ round }}",
    "round": "{{ circle }}",
    "empty": None,
}


def render(value: Any) -> tuple[Any, str | None, str]:
    return Scope(GIVEN, {"inventory_hostname": "gpu1"}).render(value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("{{ base }}", 8000),
        ("{{ base + 1 }}", 8001),
        ("{{ base }}0", "80000"),
        ("{{ name }}", "a/model"),
        ("{{ ports.chat }}", 8001),
        ("{{ ports['chat'] | string }}", "8001"),
        ("{{ nowhere | default('x') }}", "x"),
        ("{{ nowhere.at.all | default(5) }}", 5),
        ("{% if base > 1 %}yes{% else %}no{% endif %}", "yes"),
        ("{{ inventory_hostname }}.example", "gpu1.example"),
        ("{{ [base, 1] }}", [8000, 1]),
        ("{{ empty }}", None),
        ({"a": ["{{ base }}", "{{ fact }}"]}, {"a": [8000, "{{ fact }}"]}),
    ],
)
def test_what_the_inventory_decides_is_rendered_with_its_type(given: Any, expected: Any) -> None:
    assert render(given) == (expected, None, "")


@pytest.mark.parametrize(
    "given",
    [
        "{{ fact }}",
        "{{ ansible_hostname }}",
        "{{ secret }}",
        "{{ lookup('env', 'HOME') }}",
        "{{ query('file', '/x') | first }}",
        "{{ hostvars['gpu2'].base }}",
        "{{ model_store_root }}",
        "{{ base | bool }}",
        "{{ base is version('1', '>') }}",
        "{{ [1, 2] | random }}",
        "{{ 1 / 0 }}",
        "{{ base.__class__ }}",
        "{{ fact | default('x') }}",
        "{{ omit }}",
    ],
)
def test_what_only_a_run_knows_stays_a_template(given: str) -> None:
    assert render(given) == (given, None, "")


@pytest.mark.parametrize(
    ("given", "reason", "hint"),
    [
        ("{{ nowhere }}", "cannot be rendered: 'nowhere' is undefined", "set it in the inventory"),
        ("{{ onwer }}/x", "cannot be rendered: 'onwer' is undefined", "did you mean owner?"),
        ("{{ ports.caht }}", "cannot be rendered: 'dict object' has no attribute 'caht'", ""),
        ("{{ circle }}", "cannot be rendered: circle refers to itself", ""),
        ("{{ base", "is not a valid template: ", ""),
        ("{% if base %}x", "is not a valid template: ", ""),
        (
            ["{{ base }}", "{{ nowhere }}"],
            "cannot be rendered: 'nowhere' is undefined",
            "set it in the inventory",
        ),
    ],
)
def test_what_no_run_can_render_is_wrong(given: Any, reason: str, hint: str) -> None:
    value, why, how = render(given)
    assert value == given
    assert why is not None
    assert (why.startswith(reason), how) == (True, hint)


def test_what_is_rendered_is_checked_as_if_it_had_been_written(tmp_path: Path) -> None:
    text = """\
[gpu]
a ansible_host=192.0.2.1 serve_engine=vllm
[gpu:vars]
my_model=Qwen/Qwen3-8B
my_source=modelscpe
my_port=eight
serve_model="{{ my_model }}"
serve_model_source="{{ my_source }}"
serve_port="{{ my_port }}"
serve_address="{{ inventory_hostname }}"
engine_vllm_max_model_len="{{ nowhere }}"
serve_api_key_file="{{ inventory_dir }}/no.key"
"""
    said = problems_of(tmp_path / "hosts.ini", text)
    assert [one.partition(":")[0] for one in said] == [
        "serve_model_source",
        "serve_port",
        "serve_address",
        "engine_vllm_max_model_len",
        "serve_api_key_file",
    ]


@pytest.mark.parametrize("port", ["{{ base }}", "{{ base | int }}", "{{ 8000 }}"])
def test_services_are_checked_although_they_contain_templates(tmp_path: Path, port: str) -> None:
    item = (
        '{"serve_name": "NAME", "serve_model": "a/b", "serve_port": "PORT", "serve_env": {"X": "{{ fact }}"}}'
    )
    items = ", ".join(item.replace("NAME", name).replace("PORT", port) for name in "xy")
    host = "a base=8000 fact='{{ ansible_facts.x }}' serve_engine=vllm"
    text = f"[g]\n{host}\n[g:vars]\nserve_services=[{items}]\n"
    (said,) = problems_of(tmp_path / "hosts.ini", text)
    assert said.startswith("serve_services[2].serve_port: is used by services x and y of one host")


def test_one_machine_is_found_by_its_rendered_address(tmp_path: Path) -> None:
    text = """\
[gpu]
a1 ansible_host="{{ gateway }}" ansible_port=2201
a2 ansible_host="{{ gateway }}" ansible_port=2201
b1 ansible_host=GPU1.example.com
b2 ansible_host=gpu1.example.com
c1 ansible_ssh_host=192.0.2.9 ansible_ssh_port=2222
c2 ansible_ssh_host=192.0.2.9 ansible_ssh_port=2222
d1 ansible_host=192.0.2.50 ansible_port=22
d2 ansible_host=192.0.2.50
[gpu:vars]
gateway=192.0.2.1
serve_port=8000
"""
    said = problems_of(tmp_path / "hosts.ini", text)
    first = [one.partition(" is also ")[2].partition(":")[0] for one in said]
    assert sorted(first) == ["a1", "b1", "c1", "d1"]


def test_what_is_tagged_as_unsafe_is_not_a_template(tmp_path: Path) -> None:
    text = """\
all:
  hosts:
    h1:
      serve_engine: ollama
      serve_model: qwen3:8b
      serve_model_source: ollama
      engine_ollama_template: !unsafe "{{ if .System }}{{ .System }}{{ end }}"
      engine_ollama_system: !unsafe "{{ nowhere }}"
"""
    assert len(fleet_of(tmp_path / "hosts.yml", text).hosts[0].services) == 1
