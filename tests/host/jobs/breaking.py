# SPDX-License-Identifier: Apache-2.0
"""Break a job at each of its steps, by each kind of exception, and see how it ends.

A step is the beginning or the end of a function of the host code, or of the host that a test simulates,
that the job calls; one that is called at several places is a step of each.
"""

from __future__ import annotations

import errno
import importlib
import inspect
import itertools
import json
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import ansible.module_utils.engine_ollama as ollama
import ansible.module_utils.provision as host_code
import pytest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.jobs.program import Program

INVOCATION = "this-run"
# What reports the failure; it cannot report its own.
REPORTING = ("jobs/program.py", "host/fault.py")


class Step(NamedTuple):
    """The beginning or the end of a function, called by another."""

    event: str
    function: str
    caller: str


@dataclass
class Case:
    """One run of a program that is about to begin, and what it must leave when it fails or succeeds."""

    program: Program
    verb: str
    spec: dict[str, Any]
    failed: Callable[[], None] = lambda: None
    done: Callable[[], None] = lambda: None


@dataclass
class Breaker:
    """List the steps that are taken, and raise an error at one of them."""

    folders: tuple[str, ...]
    at: Step | None = None
    error: BaseException | None = None
    steps: dict[Step, None] = field(default_factory=dict)
    _known: dict[tuple[CodeType, str], bool] = field(default_factory=dict)

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if event not in ("call", "return"):
            return
        key = (frame.f_code, event)
        if key not in self._known:
            self._known[key] = self._counts(*key)
        if not self._known[key]:
            return
        caller = frame.f_back
        step = Step(event, _name(frame.f_code), _name(caller.f_code) if caller else "")
        self.steps[step] = None
        if step == self.at and self.error:
            sys.setprofile(None)
            raise self.error

    def _counts(self, code: CodeType, event: str) -> bool:
        if not code.co_filename.startswith(self.folders) or code.co_name == "__init__":
            return False
        if code.co_filename.endswith(REPORTING):
            return False
        # Of a generator every value is an end, and a `with` begins only after the end of `__enter__`.
        return event == "call" or not (code.co_flags & inspect.CO_GENERATOR or code.co_name == "__enter__")


def _name(code: CodeType) -> str:
    return f"{Path(code.co_filename).parent.name}/{Path(code.co_filename).name}:{code.co_name}"


def _classes() -> list[type[Fault]]:
    """Return every class of faults of the host code."""
    for package in (host_code, ollama):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    found: list[type[Fault]] = [Fault]
    for one in found:
        found += one.__subclasses__()
    return sorted(set(found), key=lambda one: one.__name__)


def _made(kind: type[Fault]) -> Fault:
    needed = [one for one in inspect.signature(kind).parameters.values() if one.default is one.empty]
    return kind(*("broken", "mend it")[: len(needed)])


ERRORS: list[BaseException] = [
    *map(_made, _classes()),
    OSError(errno.ENOSPC, "No space left on device"),
    RuntimeError("broken"),
    KeyboardInterrupt(),
    SystemExit(143),
]
# Each step is broken by one of the errors, in turn; all by all is for --exhaustive.
ONE_IN_TURN = None
each_error = pytest.mark.parametrize(
    "error",
    [ONE_IN_TURN, *(pytest.param(one, marks=pytest.mark.exhaustive) for one in ERRORS)],
    ids=lambda one: type(one).__name__ if one else "one-in-turn",
)


@contextmanager
def _profiled(breaker: Breaker) -> Iterator[None]:
    before = sys.getprofile()
    sys.setprofile(breaker)
    try:
        yield
    finally:
        sys.setprofile(before)


def run(case: Case, folder: Path, breaker: Breaker) -> tuple[int, dict[str, Any]]:
    """Run a program to its end, and return its exit status and its state file."""
    result, spec = folder / "job.json", folder / "job.spec.json"
    result.write_text('{"state": "running", "invocation": "an-earlier-run"}', encoding="utf-8")
    spec.write_text(json.dumps({**case.spec, "result": str(result)}), encoding="utf-8")
    with _profiled(breaker):
        code = case.program.main([case.verb, str(spec)])
    return code, json.loads(result.read_text(encoding="utf-8"))


def check(case: Case, code: int, state: dict[str, Any]) -> None:
    """See that the state file tells what has happened, and that nothing is half done."""
    assert state["invocation"] == INVOCATION
    if code == 0:
        assert state["state"] == "done"
        case.done()
    else:
        assert state["state"] == "failed"
        assert state["message"]
        assert state["next"]
        case.failed()


def break_everywhere(
    prepare: Callable[[Path, pytest.MonkeyPatch], Case],
    folder: Path,
    error: BaseException | None,
    *more: Path,
) -> int:
    """Run a job once for each of its steps, break it there, and return how many runs failed."""
    watched = (*host_code.__path__, *ollama.__path__, *map(str, more))

    def once(name: str, at: Step | None, error: BaseException | None) -> tuple[int, dict[Step, None]]:
        place = folder / name
        place.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("INVOCATION_ID", INVOCATION)
            patch.setattr(os, "fsync", lambda _: None)
            case, breaker = prepare(place, patch), Breaker(watched, at, error)
            code, state = run(case, place, breaker)
            try:
                check(case, code, state)
            except AssertionError as failure:
                raise AssertionError(f"broken at {at} by {error!r}, it left {state}: {failure}") from failure
        assert at or code == 0, f"whole, it left {state}"
        return code, breaker.steps

    _, steps = once("whole", None, None)
    turn = [error or one for one, _ in zip(itertools.cycle(ERRORS), steps, strict=False)]
    codes = [once(str(number), *pair)[0] for number, pair in enumerate(zip(steps, turn, strict=True))]
    return sum(code != 0 for code in codes)
