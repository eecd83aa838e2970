# SPDX-License-Identifier: Apache-2.0
"""Spare processor time that no test is about: a third of that of all quick tests.

Each template is compiled once in a process, as tests render those of roles thousands of times, and garbage is
looked for less often and not among what was imported. A test's folder has a number for a name; pytest lists
all folders that it has made before to find the next one.
"""

from __future__ import annotations

import gc
import itertools
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from jinja2 import Environment

# Objects that are made before Python looks for garbage; its own 700 suit programs with less in memory.
YOUNG_OBJECTS = 20_000
# What makes the same text another program.
SYNTAX = ("block_start_string", "variable_start_string", "trim_blocks", "lstrip_blocks")

_compile = Environment.compile
_compiled: dict[tuple[object, ...], CodeType] = {}
_numbers = itertools.count()


def compile_once(environment: Environment, source: Any, *arguments: Any, **named: Any) -> Any:
    """Return the program of a template that has been compiled before."""
    if not isinstance(source, str) or arguments or set(named) - {"defer_init"}:
        return _compile(environment, source, *arguments, **named)
    syntax = (type(environment), *(getattr(environment, name) for name in SYNTAX))
    key = (str(source), *syntax)
    if key not in _compiled:
        _compiled[key] = _compile(environment, source, **named)
    return _compiled[key]


def pytest_configure() -> None:
    """Put it in the place of Jinja's own."""
    Environment.compile = compile_once  # type: ignore[method-assign, assignment]  # for tests alone


def pytest_collection_finish() -> None:
    """Leave out what lives as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder for a test."""
    folder = tmp_path_factory.getbasetemp() / f"test-{next(_numbers)}"
    folder.mkdir(mode=0o700)
    return folder
