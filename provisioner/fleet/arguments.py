# SPDX-License-Identifier: Apache-2.0
"""Read `serve_args` as the parser of the engine would, and find what it would refuse or should not get."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from provisioner.fleet import findings, options, variables
from provisioner.fleet.findings import Finding
from provisioner.fleet.options import Option
from provisioner.fleet.services import Service

VARIABLE = "serve_args"
ARGPARSE, EXACT = "argparse", "exact"
_NUMBER = re.compile(r"-[0-9]+|-[0-9]*\.[0-9]+")
_TWO_ITEMS = "write an option and its value as two items of the list"
# What follows an option, at least and at most; None is any number.
_FOLLOWS: dict[int | str, tuple[int, int | None]] = {0: (0, 0), "?": (0, 1), "*": (0, None), "+": (1, None)}


@dataclass
class _Reader:
    """Go through the items; `known` are the names of the release, and of what the role sets itself.

    Of a release whose options are not known, only what the role sets is looked for.
    """

    service: Service
    known: Mapping[str, Option]
    parser: str
    is_release: bool
    title: str
    seen: set[tuple[str, ...]] = field(default_factory=set)

    def read(self, items: Sequence[str]) -> Iterator[Finding]:
        """Find the mistakes of all items."""
        rest = list(items)
        while rest:
            item = rest.pop(0)
            if variables.is_deferred(item):
                continue
            if not item.startswith("-") or item == "-" or _NUMBER.fullmatch(item) or " " in _name(item):
                if self.is_release:
                    what = f"item {len(items) - len(rest)} belongs to no option"
                    yield self._finding(what, _TWO_ITEMS)
                continue
            yield from self._option(item, rest)

    def _option(self, item: str, rest: list[str]) -> Iterator[Finding]:
        """Check one option, and take its values from the rest."""
        given, attached = self._split(item)
        found = self._matches(given)
        meant = {option.names: option for option in found.values()}
        reserved = [name for name in found if set(found[name].names) & set(self.service.engine.reserved_args)]
        # Of another release, nobody knows whether a beginning is ambiguous.
        if reserved and (len(meant) == 1 or not self.is_release):
            yield self._reserved(given, reserved[0])
        elif len(meant) > 1 and self.is_release:
            yield self._finding(f"{given} is ambiguous: {self.title} has {' and '.join(sorted(found)[:3])}")
        elif not meant and self.is_release:
            near = findings.nearest(given, self.known, 0.75)
            hint = f"did you mean {near}?" if near else ""
            yield self._finding(f"{given} is not an option of {self.title}", hint)
        if len(meant) == 1 and self.is_release:
            yield from self._values(given, next(iter(meant.values())), attached, rest)
            return
        # Nobody knows what follows, so everything up to the next option may be its value.
        while rest and not _is_option(rest[0]):
            rest.pop(0)

    def _split(self, item: str) -> tuple[str, str | None]:
        """Return the name in an item, and the value in it if there is one."""
        if self.parser == EXACT:
            name, equals, value = item.partition("=")
            known = name.replace("_", "-") if name.startswith("--") else name
            return known, value if equals else None
        name, equals, value = item.partition("=")
        if name.startswith("--"):
            head, dot, tail = name.partition(".")
            name = head.replace("_", "-") + dot + tail
        # A part of a JSON value, as in --override.x.y 1.
        name = name.partition(".")[0]
        if not name.startswith("--") and name not in self.known and name[:2] in self.known:
            return name[:2], item[2:].removeprefix("=")
        return name, value if equals else None

    def _matches(self, given: str) -> dict[str, Option]:
        """Return the options that a name may stand for, by their names."""
        if given in self.known:
            return {given: self.known[given]}
        if self.parser == EXACT:
            return {}
        found = {name: option for name, option in self.known.items() if name.startswith(given)}
        return {} if given in ("-", "--") else found

    def _reserved(self, given: str, name: str) -> Finding:
        engine = self.service.engine
        means = given if name == given else f"{given} means {name}, which"
        reason = f"{means} is set from inventory variables and cannot be given again"
        hints = (engine.argument_hints.get(one) for one in self.known[name].names)
        return self._finding(reason, next(filter(None, hints), ""))

    def _values(self, given: str, option: Option, attached: str | None, rest: list[str]) -> Iterator[Finding]:
        """Check the values of one option, which are taken from the rest."""
        if option.names in self.seen and not option.repeats:
            yield self._finding(f"{given} is given twice, and only the last one would count")
        self.seen.add(option.names)
        least, most = _FOLLOWS.get(option.values) or (int(option.values), int(option.values))
        values = [] if attached is None else [attached]
        if attached is None:
            while rest and (most is None or len(values) < most) and not self._ends(rest[0]):
                values.append(rest.pop(0))
        elif most == 0:
            yield self._finding(f"{given} takes no value")
            return
        elif self.parser == EXACT:
            yield self._finding(f"{given} takes its value as the next item, not after an equals sign")
            return
        if len(values) < least:
            yield self._finding(f"{given} needs a value", _TWO_ITEMS)
        for value in values:
            # Values are not shown: they may be secrets.
            if not variables.is_deferred(value) and (reason := option.accepts.mistake(value)):
                yield self._finding(f"the value of {given} {reason}")

    def _ends(self, item: str) -> bool:
        """Return whether an item cannot be a value."""
        return self.parser == ARGPARSE and _is_option(item)

    def _finding(self, reason: str, hint: str = "") -> Finding:
        return Finding(VARIABLE, reason, hint=hint, item=self.service.item)


def check(service: Service) -> Iterator[Finding]:
    """Find the arguments of a service that its engine would refuse, and those that the role sets itself."""
    given = service.settings[VARIABLE]
    if not isinstance(given, list) or not given:
        return
    engine, release = service.engine, options.of(service.engine.role)
    known = {name: Option((name,)) for name in engine.reserved_args}
    known |= release.named() if release else {}
    title = f"{engine.title} {release.version}" if release else engine.title
    is_release = release is not None and _runs(service, release.version)
    reader = _Reader(service, known, engine.parser, is_release, title)
    yield from reader.read([str(item) for item in given])


def _runs(service: Service, version: str) -> bool:
    """Return whether a service runs the release whose options are known, and no other build."""
    role = service.engine.role
    versions = {
        str(value)
        for name, value in service.settings.items()
        if re.fullmatch(rf"{role}_(\w+_)?version", name)
    }
    return versions == {version} and not service.settings.get(f"{role}_requirements")


def _name(item: str) -> str:
    return item.partition("=")[0]


def _is_option(item: str) -> bool:
    return item.startswith("-") and item != "-" and not _NUMBER.fullmatch(item) and " " not in _name(item)
