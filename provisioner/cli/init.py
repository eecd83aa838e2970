# SPDX-License-Identifier: Apache-2.0
"""The command `init`: write a commented inventory from a few answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from provisioner.errors import InventoryError, UsageError
from provisioner.fleet import engines, inventory, spec

_TEXT = """\
# Written by `provision init`. Check it with `provision plan {file}`, then run `provision apply {file}`.
# Any Ansible inventory works: INI, YAML, a folder with group_vars, or a script.

[{group}]
# One line per host: its name, and how to reach it over SSH. Your ~/.ssh/config is respected.
{hosts}

[{group}:vars]
ansible_user={user}

# What the hosts serve. `provision engines {engine}` lists every variable.
serve_engine={engine}
serve_model={model}
serve_model_source={source}
# Pin the revision of the model, so that every host and every later run serves the same files.
{revision}

# The engine listens on the loopback address only. Put a gateway in front of it before you open it wider.
serve_port={port}
# serve_address=0.0.0.0
# serve_expose=everything
# serve_api_key_file=/path/on/this/machine/to/a/file/with/the/key

# What to optimise for where you set nothing yourself: latency, throughput or memory.
# serve_profile=throughput

# The question that every service is asked, and what its answer must contain.
# serve_verify_prompt=What is the capital of France?
# serve_verify_expect=Paris

# Mirrors and tokens, when the hosts need them.
# model_store_huggingface_endpoint=https://a-mirror.example
# model_store_huggingface_token_file=/path/on/this/machine/to/a/file/with/the/token
"""


@click.command()
@click.argument("file", default="inventory.ini", type=click.Path(dir_okay=False))
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME[=ADDRESS[:PORT]]",
    help="A host; may be given several times.",
)
@click.option("--user", metavar="USER", help="User who logs in: root, or a user who may use sudo.")
@click.option("--engine", metavar="NAME", help="Engine that serves the model.")
@click.option("--model", metavar="MODEL", help="Model to serve, as its source writes it: owner/name.")
@click.option("--source", metavar="SOURCE", help="Where the model comes from; see `provision engines`.")
@click.option("--revision", metavar="REVISION", help="Commit or digest of the model; pin it.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def init(file: str, hosts: tuple[str, ...], revision: str | None, force: bool, **answers: Any) -> int:
    """Write an inventory to FILE; asks for what the options do not give."""
    path = Path(file)
    if path.exists() and not force:
        raise UsageError(f"{file} exists", "choose another file, or overwrite it with --force")
    chosen = _Answers(answers)
    found = hosts or tuple(
        chosen.ask("hosts", "Hosts (name, or name=address; separated by spaces)", None).split()
    )
    suggested = next(name for name, engine in engines.load().items() if engine.suggested)
    engine = chosen.ask("engine", "Engine", suggested, tuple(engines.load()))
    sources = engines.load()[engine].sources
    source = chosen.ask("source", "Model source", sources[0], sources)
    model = chosen.ask("model", "Model", None)
    text = _TEXT.format(
        file=file,
        group="gpu_hosts",
        hosts="\n".join(map(_host_line, found)),
        user=chosen.ask("user", "User who logs in", "root"),
        engine=engine,
        model=model,
        source=source,
        revision=f"serve_model_revision={revision}" if revision else "# serve_model_revision=",
        port=engines.load()[engine].port,
    )
    _write_checked(path, text)
    click.echo(f"wrote {file}; next: provision plan {file}", err=True)
    return 0


class _Answers:
    """Find answers: from an option, from the person at the terminal, or the default."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given
        self._may_ask = sys.stdin.isatty()

    def ask(self, option: str, question: str, default: str | None, choices: tuple[str, ...] = ()) -> str:
        """Return the answer; raises UsageError when there is none and no one to ask."""
        answer = self._given.get(option)
        if answer is None and self._may_ask:
            kind = click.Choice(choices) if choices else None
            answer = click.prompt(question, default=default, type=kind, err=True)
        answer = answer if answer is not None else default
        if answer is None:
            raise UsageError(
                f"--{option.rstrip('s')} is needed", "give it, or run this on a terminal to be asked"
            )
        if choices and answer not in choices:
            raise UsageError(f"--{option} {answer} is not known", f"it is one of {', '.join(choices)}")
        return str(answer)


def _host_line(text: str) -> str:
    name, _, where = text.partition("=")
    address, _, port = where.partition(":")
    return " ".join(
        filter(None, [name, address and f"ansible_host={address}", port and f"ansible_port={port}"])
    )


def _write_checked(path: Path, text: str) -> None:
    """Write the inventory only if it passes the checks of `plan`."""
    draft = path.with_name(f".{path.name}.draft{path.suffix}")
    try:
        draft.write_text(text)
        spec.load(inventory.load(str(draft)))
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", "choose another place") from error
    except InventoryError as error:
        reasons = (
            "; ".join(f"{problem.variable} {problem.reason}" for problem in error.problems) or error.message
        )
        raise UsageError(
            f"these answers do not make a valid inventory: {reasons}", "run it again with other answers"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
