# SPDX-License-Identifier: Apache-2.0
"""Build frozen dataclasses from plain JSON values by their annotations; unknown keys are ignored."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from math import isfinite
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


def load(cls: type[T], raw: object) -> T:
    """Return `cls` filled from the mapping `raw`; raise TypeError when a part is missing or wrong."""
    if not isinstance(raw, Mapping):
        raise TypeError(f"{cls.__name__} needs a mapping")
    values = {}
    for name, hint, required in _fields(cast("Any", cls)):
        if raw.get(name) is not None:
            values[name] = _convert(hint, raw[name])
        elif required and types.NoneType in get_args(hint):
            values[name] = None
        elif required:
            raise TypeError(f"{cls.__name__} needs {name}")
    return cls(**values)


def only(cls: type, raw: object, keep: Callable[[Any], Any]) -> dict[str, Any]:
    """Return, as plain values, what `cls` declares of the mapping `raw`; `keep` gets each text and number."""
    known = raw if isinstance(raw, Mapping) else {}
    return {name: _declared(hint, known[name], keep) for name, hint, _ in _fields(cls) if name in known}


def _declared(hint: Any, raw: Any, keep: Callable[[Any], Any]) -> Any:
    inner = get_args(hint)
    if get_origin(hint) is tuple:
        return [_declared(inner[0], part, keep) for part in raw] if isinstance(raw, list) else []
    if get_origin(hint) in (Union, types.UnionType):
        return _declared(inner[0], raw, keep)
    return only(cast("type", hint), raw, keep) if is_dataclass(hint) else keep(raw)


@cache
def _fields(cls: Any) -> tuple[tuple[str, Any, bool], ...]:
    hints = get_type_hints(cls)
    return tuple(
        (part.name, hints[part.name], part.default is MISSING and part.default_factory is MISSING)
        for part in fields(cls)
    )


def _convert(hint: Any, raw: Any) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _or_none(inner[0], raw)
    if origin is tuple:
        parts = (_or_none(inner[0], part) for part in (raw if isinstance(raw, list | tuple) else [raw]))
        return tuple(part for part in parts if part is not None)
    if origin is not None:
        return {str(key): _convert(inner[1], value) for key, value in raw.items()}
    if is_dataclass(hint):
        return load(cast("type[Any]", hint), raw)
    if hint is bool:
        return raw is True
    if hint in (int, float) and (isinstance(raw, bool) or not isfinite(float(raw))):
        raise TypeError(f"{raw!r} is not a number")
    return hint(raw)


def _or_none(hint: Any, raw: Any) -> Any:
    try:
        return _convert(hint, raw)
    except (TypeError, ValueError, AttributeError):
        return None
