# SPDX-License-Identifier: Apache-2.0
"""Guard the start and the stop of an engine: refuse a taken port, wait for a real answer, bound the stop.

Packed with what it imports into /usr/local/lib/provision/serve-gate, which the engine's unit runs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Sequence

from ..host.fault import Fault, fault_of
from . import inputs, processes, tasks
from .client import Engine, NoAnswerError

PROC = Path("/proc")
HEALTH_SECONDS = 5
PAUSE_SECONDS = 0.5
STOP_PAUSE_SECONDS = 0.1
KILL_SECONDS = 10
# Memory that an engine before this one has yet to free becomes available between two attempts.
FAILED_ANSWERS = 5
FREE_THE_PORT = "stop that process, or set serve_port to a free port"
READ_ABOVE = "read what the engine logged before this line"
_BEFORE_START = "ExecStartPre="


def preflight(options: argparse.Namespace) -> None:
    """Refuse a taken port, then write down what the engine is started with."""
    holder = processes.holder(options.address, options.port)
    if holder:
        raise Fault(f"port {options.port} is taken by {holder}", FREE_THE_PORT)
    if options.unit:
        inputs.record(options.unit, options.model_dir)


def ready(options: argparse.Namespace) -> None:
    """Wait until every model has generated a token, and give up as soon as the engine has ended."""
    key = os.environ.get(options.key_variable, "") if options.key_variable else ""
    engine, began = Engine(options.url, key), time.monotonic()
    for model in (options.model, *options.preload):
        _await_token(options, engine, model, began)
        which = "the model" if model == options.model else model
        sys.stdout.write(f"{which} answered {time.monotonic() - began:.0f} s after its start\n")
        sys.stdout.flush()


def _await_token(options: argparse.Namespace, engine: Engine, model: str, began: float) -> None:
    process = os.environ.get("MAINPID", "0") or "0"
    reason, failures, passed = "", 0, time.monotonic() - began
    while passed < options.timeout:
        if process != "0" and not (PROC / process).exists():
            raise Fault(f"the engine ended {passed:.0f} s after its start, before it answered", READ_ABOVE)
        try:
            wanted = options.task if model == options.model else tasks.AUTO
            check(engine, options.health, model, options.timeout - passed, wanted)
        except NoAnswerError as error:
            reason = str(error)
            # The engine is up, so a request that it rejects stays wrong; only overload passes.
            if 400 <= error.status < 500 and error.status != 429:
                raise Fault(reason, READ_ABOVE) from error
            failures = failures + 1 if error.status == 500 else 0
            if failures >= FAILED_ANSWERS:
                raise Fault(f"{model}: {failures} times in a row {reason}", READ_ABOVE) from error
            time.sleep(PAUSE_SECONDS)
        else:
            return
        passed = time.monotonic() - began
    raise Fault(f"{model}: no answer within {options.timeout} s; last: {reason}", READ_ABOVE)


def check(engine: Engine, health: str, model: str, seconds: float, wanted: str = tasks.AUTO) -> None:
    """Raise an error unless the engine is healthy and its model does its task, such as generating a token."""
    status = engine.status(health, seconds=HEALTH_SECONDS)
    if status != 200:
        raise NoAnswerError(f"{health} answered {status}")
    does = tasks.declared(engine, model) if wanted == tasks.AUTO else wanted
    # Some engines load a model at the first request for it, and stop loading when the request is abandoned.
    if does == tasks.GENERATE:
        engine.generate(model, seconds)
    else:
        tasks.prove(engine, does, model, "Hello", seconds)


def stop(options: argparse.Namespace) -> None:
    """Let the engine finish what it is answering, and end it if that takes too long."""
    process = int(os.environ.get("MAINPID", "0") or "0")
    for sent, seconds in ((signal.SIGTERM, options.seconds), (signal.SIGKILL, KILL_SECONDS)):
        if not process or not (PROC / str(process)).exists():
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, sent)
        deadline = time.monotonic() + seconds
        while (PROC / str(process)).exists() and time.monotonic() < deadline:
            time.sleep(STOP_PAUSE_SECONDS)
    sys.stdout.write(f"requests were still running after {options.seconds:.0f} s, and were cut\n")


def given_by(unit_text: str) -> argparse.Namespace:
    """Return what a unit file passes to the gate before a start: unit, address, port and model directory."""
    line = next((line for line in unit_text.splitlines() if line.startswith(_BEFORE_START)), "")
    if not line:
        raise Fault("the unit file does not run the start gate", f"add {_BEFORE_START} to its template")
    words = shlex.split(line[len(_BEFORE_START) :].lstrip("+").replace("%%", "%").replace("$$", "$"))
    return _parser().parse_args(words[2:])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="serve-gate", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("preflight", help=(preflight.__doc__ or "").splitlines()[0])
    command.add_argument("--address", default="127.0.0.1")
    command.add_argument("--port", type=int, required=True)
    command.add_argument("--unit", default="")
    command.add_argument("--model-dir", default="")
    command.set_defaults(function=preflight)
    command = commands.add_parser("ready", help=(ready.__doc__ or "").splitlines()[0])
    for name in ("--url", "--model"):
        command.add_argument(name, required=True)
    command.add_argument("--health", default="/health")
    command.add_argument("--key-variable", default="")
    command.add_argument("--task", choices=(tasks.AUTO, *tasks.TASKS), default=tasks.AUTO)
    command.add_argument("--timeout", type=float, default=1800)
    command.add_argument("--preload", action="append", default=[], metavar="MODEL")
    command.set_defaults(function=ready)
    command = commands.add_parser("stop", help=(stop.__doc__ or "").splitlines()[0])
    command.add_argument("--seconds", type=float, required=True)
    command.set_defaults(function=stop)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.function(options)
    except (Fault, OSError) as error:
        fault = fault_of(error)
        sys.stderr.write(f"{fault}\nnext: {fault.next_step}\n")
        return 1
    return 0
