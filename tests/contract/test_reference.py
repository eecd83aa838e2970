# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pytest

from provisioner.fleet import variables
from tests.contract import tree

SPEC = """\
argument_specs:
  main:
    short_description: Paint the host
    description: [In every room., "See V(color|shade)."]
    options:
      paint_color:
        type: str
        required: true
        choices: [red, blue]
        description: Color to use
      paint_layers:
        type: list
        elements: dict
        description: Layers, the lowest first.
        options:
          depth:
            type: int
            default: 1
            description: Depth of a layer.
  verify:
    short_description: Look at the paint
"""

README = """\
# paint

Paint the host.

In every room.

See `color|shade`.

## Variables

| Variable | Type | Default | Meaning |
| --- | --- | --- | --- |
| `paint_color` | str | required | Color to use. One of `red`, `blue`. |
| `paint_layers` | list of dict | `[]` | Layers, the lowest first. |
| `paint_layers.depth` | int | `1` | Depth of a layer. |

## Entry `verify` (`tasks_from: verify`)

Look at the paint.

It takes no variables.
"""


@pytest.fixture
def role(tmp_path: Path) -> Path:
    for name, text in {
        "meta/argument_specs.yml": SPEC,
        "defaults/main.yml": "paint_layers: []\n",
        "tasks/verify.yml": "[]\n",
    }.items():
        path = tmp_path / "paint" / name
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "paint"


def test_renders_the_specification(role: Path) -> None:
    text = tree.script("reference").readme(role)
    assert text.split("\n\n", 1)[1] == README


def test_shows_what_the_command_line_knows_about_an_engine(role: Path) -> None:
    (role / "engine.yml").write_text("title: Paint | er\nformats: [oil, water]\n", encoding="utf-8")
    text = tree.script("reference").readme(role)
    assert "| `title` | `Paint \\| er` |\n| `formats` | `[oil, water]` |\n" in text


def test_shows_limits_and_environment_variables_beside_a_variable(role: Path) -> None:
    engine = """\
environment: {variables: {PAINT_COLOR: paint_color}, allowed: [OIL_*]}
limits: {paint_layers: {minimum: 1, maximum: 3}, paint_color: {pattern: "[a-z]+", meaning: a color}}
profiles: {latency: {paint_layers: []}, memory: {paint_color: red}}
"""
    (role / "engine.yml").write_text(engine, encoding="utf-8")
    text = tree.script("reference").readme(role)
    assert "One of `red`, `blue`. Must be a color. In `serve_env`: `PAINT_COLOR`. |" in text
    assert "Layers, the lowest first. Limits: minimum 1, maximum 3. |" in text
    assert "| Key | Value |\n| --- | --- |\n| `environment.allowed` | `[OIL_*]` |\n\n" in text
    assert "| Variable | latency | memory |\n" in text
    assert "| `paint_color` |  | `red` |\n" in text


def test_an_entry_shows_only_variables_that_differ_from_those_of_main(role: Path) -> None:
    spec = SPEC.replace("paint_color:\n", "paint_color: &color\n").replace(
        "paint_layers:\n", "paint_layers: &layers\n"
    )
    others = """\
    options: {paint_color: *color, paint_layers: *layers}
  remove:
    options: {paint_color: *color, paint_layers: {type: int, description: How many layers to remove.}}
  dry:
    options: {paint_color: *color}
"""
    (role / "meta/argument_specs.yml").write_text(spec + others, encoding="utf-8")
    _, *blocks = tree.script("reference").readme(role).split("\n\n## ")[1:]
    assert [block.rstrip().splitlines()[2:] for block in blocks] == [
        ["Look at the paint.", "", "It takes the same variables as the entry `main`."],
        [
            "| Variable | Type | Default | Meaning |",
            "| --- | --- | --- | --- |",
            "| `paint_layers` | int |  | How many layers to remove. |",
            "",
            "It takes `paint_color` too, as the entry `main` does.",
        ],
        ["It takes `paint_color`, as the entry `main` does."],
    ]


def test_the_inventory_reference_is_up_to_date() -> None:
    generator = tree.script("reference")
    assert generator.INVENTORY.read_text(encoding="utf-8") == generator.inventory(tree.ROLES), (
        "run scripts/reference"
    )


def test_the_inventory_reference_has_every_variable_exactly_once() -> None:
    text = tree.script("reference").INVENTORY.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z0-9_]+)` \|", text, re.MULTILINE)
    required = {
        name
        for role in tree.ROLES
        for name, option in tree.options(role, "main").items()
        if option.get("required")
    }
    assert sorted(rows) == sorted(set(variables.load().variables) - required)
