# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract import tree

SPEC = """\
argument_specs:
  main:
    short_description: Paint the host
    description: [First words., "See V(color|shade)."]
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

First words.

See `color|shade`.

## Words

| Word | Type | Default | Meaning |
| --- | --- | --- | --- |
| `paint_color` | str | required | Color to use. One of `red`, `blue`. |
| `paint_layers` | list of dict | `[]` | Layers, the lowest first. |
| `paint_layers.depth` | int | `1` | Depth of a layer. |

## Entry `verify` (`tasks_from: verify`)

Look at the paint.

It takes no words of its own.
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
    text = tree.readme_generator().render(role)
    assert text.split("\n\n", 1)[1] == README


def test_shows_what_the_command_knows_about_an_engine(role: Path) -> None:
    (role / "engine.yml").write_text("title: Paint | er\nformats: [oil, water]\n", encoding="utf-8")
    text = tree.readme_generator().render(role)
    assert "| `title` | `Paint \\| er` |\n| `formats` | `[oil, water]` |\n" in text


def test_says_beside_a_word_what_its_engine_makes_of_it(role: Path) -> None:
    engine = """\
environment: {words: {PAINT_COLOR: paint_color}, allowed: [OIL_*]}
limits: {paint_layers: {minimum: 1, maximum: 3}, paint_color: {pattern: "[a-z]+", meaning: a color}}
profiles: {latency: {paint_layers: []}, memory: {paint_color: red}}
"""
    (role / "engine.yml").write_text(engine, encoding="utf-8")
    text = tree.readme_generator().render(role)
    assert "One of `red`, `blue`. Must be a color. In `serve_env`: `PAINT_COLOR`. |" in text
    assert "Layers, the lowest first. Limits: minimum 1, maximum 3. |" in text
    assert "| Key | Value |\n| --- | --- |\n| `environment.allowed` | `[OIL_*]` |\n\n" in text
    assert "| Word | latency | memory |\n" in text
    assert "| `paint_color` |  | `red` |\n" in text
