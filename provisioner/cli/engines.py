# SPDX-License-Identifier: Apache-2.0
"""Offer `engines`: what can be served by what, and every word that tunes it."""

from __future__ import annotations

import dataclasses
import json

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from provisioner.cli import options
from provisioner.cli.screen import text
from provisioner.errors import UsageError
from provisioner.fleet import engines as registry
from provisioner.fleet import variables as words
from provisioner.fleet.engines import Engine


@click.command()
@click.argument("name", required=False)
@options.as_json
def engines(name: str | None, as_json: bool) -> int:
    """List the inference engines, or the inventory words of the one called NAME."""
    known = registry.load()
    if name is not None and name not in known:
        near = words.load().nearest(name, known)
        raise UsageError(
            f"there is no engine {name}", f"did you mean {near}?" if near else f"there are {', '.join(known)}"
        )
    chosen = [engine for engine in known.values() if name in (None, engine.name)]
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(engine) for engine in chosen], indent=2))
        return 0
    console = Console()
    _list(chosen, console)
    if name is not None:
        _words(known[name], console)
    return 0


def _list(chosen: list[Engine], console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("engine", "title", "port", "formats", "models from", "devices", "oldest safe"):
        table.add_column(title)
    for engine in chosen:
        lists = (", ".join(engine.formats), ", ".join(engine.sources), ", ".join(engine.devices))
        cells = (engine.name, engine.title, str(engine.port), *lists, engine.minimum_safe or "")
        table.add_row(*map(Text, cells))
    console.print(table)


def _words(engine: Engine, console: Console) -> None:
    catalog = words.load()
    variables = (
        {word: name for name, word in engine.environment.variables.items()} if engine.environment else {}
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("word", "type", "meaning"):
        table.add_column(title, overflow="fold")
    shared = {name: word for name, word in catalog.variables.items() if name in catalog.serve_variables}
    for name, word in {**shared, **catalog.knobs(engine.name)}.items():
        kind = " | ".join(map(str, word.choices)) or word.type
        variable = f" ({variables[name]})" if name in variables else ""
        table.add_row(Text(name), Text(kind), Text(word.description + variable))
    console.print()
    console.print(table)
    console.print()
    for name, sets in engine.profiles.items():
        settings = ", ".join(f"{word} = {text.value(value)}" for word, value in sets.items())
        console.print(Text(f"profile {name} sets {settings}"))
