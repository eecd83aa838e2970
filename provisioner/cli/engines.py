# SPDX-License-Identifier: Apache-2.0
"""The command `engines`: what each engine can serve, and every variable that tunes it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from provisioner.cli import options
from provisioner.cli.screen import text
from provisioner.errors import UsageError
from provisioner.fleet import engines as registry
from provisioner.fleet import variables
from provisioner.fleet.engines import Engine


@click.command()
@click.argument("name", required=False)
@options.as_json
def engines(name: str | None, as_json: bool) -> int:
    """List the inference engines, or the inventory variables of the engine NAME."""
    known = registry.load()
    if name is not None and name not in known:
        near = variables.load().nearest(name, known)
        raise UsageError(
            f"there is no engine {name}", f"did you mean {near}?" if near else f"there are {', '.join(known)}"
        )
    chosen = [engine for engine in known.values() if name in (None, engine.name)]
    if as_json:
        click.echo(json.dumps([_document(engine) for engine in chosen], indent=2))
        return 0
    console = Console()
    _list(chosen, console)
    if name is not None:
        _variables(known[name], console)
    return 0


def _document(engine: Engine) -> dict[str, Any]:
    document = dataclasses.asdict(engine)
    if engine.environment:
        # The JSON keeps the key that it had before the variables got this name.
        document["environment"]["words"] = document["environment"].pop("variables")
    return document


def _list(chosen: list[Engine], console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("engine", "title", "port", "formats", "models from", "devices", "tasks", "oldest safe"):
        # A name that is cut short cannot be used.
        table.add_column(title, no_wrap=title == "engine", overflow="fold")
    for engine in chosen:
        lists = map(", ".join, (engine.formats, engine.sources, engine.devices, engine.tasks))
        cells = (engine.name, engine.title, str(engine.port), *lists, engine.minimum_safe or "")
        table.add_row(*map(Text, cells))
    console.print(table)


def _variables(engine: Engine, console: Console) -> None:
    catalog, environment = variables.load(), engine.environment
    in_environment = {name: key for key, name in environment.variables.items()} if environment else {}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("variable", "type", "meaning"):
        table.add_column(title, overflow="fold")
    shared = {name: one for name, one in catalog.variables.items() if name in catalog.serve_variables}
    for name, variable in {**shared, **catalog.knobs(engine.name)}.items():
        kind = " | ".join(map(str, variable.choices)) or variable.type
        note = f" ({in_environment[name]})" if name in in_environment else ""
        table.add_row(Text(name), Text(kind), Text(variable.description + note))
    console.print()
    console.print(table)
    console.print()
    for name, sets in engine.profiles.items():
        settings = ", ".join(f"{variable} = {text.value(value)}" for variable, value in sets.items())
        console.print(Text(f"profile {name} sets {settings}"))
