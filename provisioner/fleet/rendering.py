# SPDX-License-Identifier: Apache-2.0
"""Render the templates of an inventory as far as its own variables decide them.

Neither a host nor a lookup is asked: what needs facts, lookups or filters of Ansible stays as it is.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Mapping
from types import CodeType
from typing import Any

import jinja2
from jinja2 import meta
from jinja2.nativetypes import NativeEnvironment
from jinja2.sandbox import ImmutableSandboxedEnvironment

from provisioner.fleet import findings, variables

# Names that only a run knows, besides facts and the variables of roles.
_OF_A_RUN = {
    *("lookup", "query", "q", "now", "undef", "omit", "vars", "hostvars", "groups", "environment", "item"),
    *("play_hosts", "play_name", "playbook_dir", "role_name", "role_names", "role_path", "service"),
}
_UNDEFINED = re.compile(r"'(\w+)' is undefined")


class _LaterError(Exception):
    """Only a run can know the value."""


class _WrongError(Exception):
    """No run can know the value."""


class _Missing(jinja2.ChainableUndefined, jinja2.StrictUndefined):
    """An undefined variable, whose attributes have a default as well, as in Ansible."""


class _Environment(ImmutableSandboxedEnvironment, NativeEnvironment):
    """Compile templates with Ansible's settings, so that one expression keeps its type."""


_ENVIRONMENT = _Environment(
    undefined=_Missing,
    trim_blocks=True,
    keep_trailing_newline=True,
    extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"],
)
# Every call would have another result.
del _ENVIRONMENT.filters["random"]


class Scope:
    """The variables of one host that its templates may refer to; each is rendered once."""

    def __init__(self, given: Mapping[str, Any], magic: Mapping[str, Any]) -> None:
        self._given = {**given, **magic}
        self._known: dict[str, Any] = {}
        self._pending: list[str] = []

    def render(self, value: Any) -> tuple[Any, str | None, str]:
        """Return a value with its templates rendered, why one never can be, and a hint.

        What only a run can render stays a template.
        """
        wrong: list[str] = []
        rendered = self._rendered(value, wrong)
        if not wrong:
            return rendered, None, ""
        missing = _UNDEFINED.search(wrong[0])
        near = findings.nearest(missing[1], self._given, 0.75) if missing else None
        hint = f"did you mean {near}?" if near else "set it in the inventory" if missing else ""
        return value, wrong[0], hint

    def _rendered(self, value: Any, wrong: list[str]) -> Any:
        if isinstance(value, Mapping):
            return {key: self._rendered(each, wrong) for key, each in value.items()}
        if isinstance(value, list):
            return [self._rendered(each, wrong) for each in value]
        if not isinstance(value, str) or not variables.is_deferred(value):
            return value
        try:
            return self._evaluate(value)
        except _LaterError:
            return value
        except _WrongError as error:
            wrong.append(str(error))
            return value

    def _evaluate(self, text: str) -> Any:
        code, names = _compiled(text)
        known = {name: self._value(name) for name in names if self._is_known(name)}
        template = jinja2.Template.from_code(_ENVIRONMENT, code, dict(_ENVIRONMENT.globals))
        try:
            parts = list(template.root_render_func(template.new_context(known)))
            if len(parts) == 1:
                return _plain(parts[0])
            return "".join(str(_plain(part)) for part in parts)
        except jinja2.UndefinedError as error:
            raise _WrongError(f"cannot be rendered: {error.message}") from error
        except (
            jinja2.TemplateRuntimeError,
            ArithmeticError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
        ) as error:
            raise _LaterError from error

    def _is_known(self, name: str) -> bool:
        """Return whether the inventory sets a variable; raises _LaterError where a run may do so."""
        if name in self._given:
            return True
        facts = name.startswith(("ansible_", "inventory_", "_"))
        if facts or name in _OF_A_RUN or variables.load().owns(name):
            raise _LaterError
        return False

    def _value(self, name: str) -> Any:
        if name in self._pending:
            raise _WrongError(f"cannot be rendered: {name} refers to itself")
        if name not in self._known:
            self._pending.append(name)
            try:
                self._known[name] = self._whole(self._given[name])
            finally:
                self._pending.remove(name)
        return self._known[name]

    def _whole(self, value: Any) -> Any:
        """Return a variable's value without any template; raises _LaterError where only a run knows it."""
        if variables.is_encrypted(value):
            raise _LaterError
        if isinstance(value, Mapping):
            return {key: self._whole(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._whole(each) for each in value]
        return self._evaluate(value) if isinstance(value, str) and variables.is_deferred(value) else value


@functools.lru_cache(maxsize=4096)
def _compiled(text: str) -> tuple[CodeType, Collection[str]]:
    """Return a template's code and its variables; raises _LaterError where it needs Ansible's filters."""
    try:
        tree = _ENVIRONMENT.parse(text)
        return _ENVIRONMENT.compile(tree), meta.find_undeclared_variables(tree)
    except jinja2.TemplateAssertionError as error:
        raise _LaterError from error
    except jinja2.TemplateSyntaxError as error:
        raise _WrongError(f"is not a valid template: {error.message}") from error


def _plain(value: Any) -> Any:
    """Return a result as plain data; raises UndefinedError for one that is undefined."""
    if isinstance(value, jinja2.Undefined):
        str(value)
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, Iterator)):
        return [_plain(each) for each in value]
    raise _LaterError
