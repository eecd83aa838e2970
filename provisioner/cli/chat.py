# SPDX-License-Identifier: Apache-2.0
"""The command `chat`: talk to a served model through an SSH tunnel, or ask it one question."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from provisioner.cli import hosts, options
from provisioner.errors import HostError, UsageError
from provisioner.plain import clean
from provisioner.remote.chat import ANSWER_SECONDS, Conversation
from provisioner.remote.ssh import Remote

GOODBYES = frozenset({"/exit", "/quit", "/bye"})


@click.command()
@options.inventory_only
@click.argument("target", metavar="HOST[/SERVICE]")
@click.argument("question", required=False)
@click.option("--system", metavar="TEXT", help="Instructions that the model gets before the conversation.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer, in tokens.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=ANSWER_SECONDS,
    show_default=True,
    help="Give up on an answer after this many seconds.",
)
@click.option("--temperature", type=click.FloatRange(0, 2), help="0 for the most likely answer each time.")
def chat(
    target: str,
    question: str | None,
    system: str | None,
    max_tokens: int | None,
    **values: Any,
) -> int:
    """Talk to the model that HOST serves, or get one QUESTION answered; INVENTORY comes first.

    It connects through an SSH tunnel to the port on the host, so no port has to be opened to the network.
    """
    temperature, seconds = values.pop("temperature"), values.pop("timeout")
    way, services = hosts.target(values, target)
    if len(services) > 1:
        names = ", ".join(f"{way.host}/{service.name}" for service in services)
        raise UsageError(f"{way.host} has {len(services)} services", f"choose one of {names}")
    with Remote(way) as remote:
        conversation = Conversation(remote, services[0], max_tokens, temperature, seconds)
        if system:
            conversation.messages.append({"role": "system", "content": system})
        try:
            remote.open()
            if question is not None:
                _answer(conversation, question)
            else:
                _converse(conversation)
        except HostError as error:
            raise HostError(f"{way.host}: {error.message}", error.next_step) from error
    return 0


def _converse(conversation: Conversation) -> None:
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401, PLC0415 - gives the prompt its line editing, where Python has it
        click.secho(
            f"connected to {conversation.service.served_name}; /exit or Ctrl-D ends, Ctrl-C stops an answer",
            dim=True,
            err=True,
        )
    while (question := _question()) is not None:
        if not question.strip():
            continue
        try:
            _answer(conversation, question)
        except KeyboardInterrupt:
            click.secho("\n(stopped; this answer is discarded)", dim=True, err=True)
        except HostError as error:
            # A question that is too long is refused, and the conversation can continue with another.
            hosts.print_trouble(conversation.remote.way.host, error)
            if not sys.stdin.isatty():
                raise


def _question() -> str | None:
    try:
        question = input("> " if sys.stdin.isatty() else "")
    except EOFError:
        if sys.stdin.isatty():
            click.echo()
        return None
    return None if question.strip() in GOODBYES else question


def _answer(conversation: Conversation, question: str) -> None:
    try:
        _print_pieces(conversation, question)
    except HostError:
        if conversation.speed and conversation.speed.pieces:
            click.echo()  # what came of the answer ends in the middle of a line
        raise
    click.echo()
    speed = conversation.speed
    if speed and speed.thinking:
        step = "; a larger --max-tokens lets it finish" if speed.cut else ""
        click.secho(f"(the model stopped while it was thinking, before an answer{step})", dim=True, err=True)
    elif speed and speed.cut:
        reached = "--max-tokens" if conversation.max_tokens else "the engine's limit or the context's end"
        click.secho(f"(the answer ends here: it has reached {reached})", dim=True, err=True)
    if speed and sys.stderr.isatty():
        text = (
            f"first token after {speed.ttft_s:.2f} s, {speed.tokens} tokens, {speed.tokens_per_s:.0f} tok/s"
        )
        click.secho(text, dim=True, err=True)


def _print_pieces(conversation: Conversation, question: str) -> None:
    before = False
    for piece in conversation.ask(question):
        thinking = bool(conversation.speed and conversation.speed.thinking)
        if thinking != before:
            click.secho("(thinking)" if thinking else "\n(answer)", dim=True, err=True)
        before = thinking
        if not thinking:
            click.echo(clean(piece), nl=False)
        elif sys.stderr.isatty():
            click.secho(clean(piece), dim=True, err=True, nl=False)
