# SPDX-License-Identifier: Apache-2.0
"""Find the file and line that set a variable, which Ansible's own listing leaves out."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

_VARIABLE_FOLDERS = ("host_vars", "group_vars")
YAML_SUFFIXES = (".yml", ".yaml", ".json")
_SECTION = re.compile(r"\[(?P<name>[^:\]]+)(?::(?P<kind>\w+))?\]")
_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_]\w*)\s*=")
_PAIR = re.compile(r"""(?P<name>[A-Za-z_]\w*)=(?:'[^']*'|"[^"]*"|\S*)""")


@dataclass(frozen=True)
class Origin:
    """One place that sets a variable, for a host or for a group, and its `text`."""

    variable: str
    owner: str
    is_host: bool
    file: Path
    line: int
    text: str = ""
    in_host_line: bool = False

    def __str__(self) -> str:
        """Return `file:line (group name)`, or the host's name."""
        return f"{self.file}:{self.line} ({'host' if self.is_host else 'group'} {self.owner})"


class Origins:
    """The places where the files of one inventory set variables; they are read once, if at all."""

    def __init__(self, source: str, extra_vars: Sequence[str] = ()) -> None:
        self._source = source
        self._extra_vars = extra_vars

    @functools.cached_property
    def _extra(self) -> str:
        return " ".join(map(_extra_text, self._extra_vars))

    @functools.cached_property
    def _found(self) -> dict[tuple[str, str, bool], Origin]:
        """Return the places by variable, owner and its kind; of several, the last one wins."""
        return {
            (origin.variable, origin.owner, origin.is_host): origin
            for file in files(Path(self._source))
            for origin in _read(file)
        }

    def of(self, variable: str, host: str, groups: Sequence[str]) -> str:
        """Return the place that set `variable` for `host`; a host beats its groups, the nearest first."""
        if self._is_extra(variable):
            return "the command line (-e)"
        found = self._settings(variable, host, groups)
        return str(found[0]) if found else f"{self._source} (host {host})"

    def texts(self, variable: str, host: str, groups: Sequence[str]) -> list[str]:
        """Return how the variable is written, in each place that sets it for `host`."""
        if self._is_extra(variable):
            return [self._extra]
        return [origin.text for origin in self._settings(variable, host, groups)]

    def in_host_line(self, variable: str, host: str, groups: Sequence[str]) -> bool:
        """Return whether a host's line of an INI file sets the variable, where quotes are read twice."""
        found = self._settings(variable, host, groups)
        return not self._is_extra(variable) and bool(found) and found[0].in_host_line

    def _is_extra(self, variable: str) -> bool:
        return bool(re.search(rf"(?<!\w){re.escape(variable)}(?!\w)", self._extra))

    def _settings(self, variable: str, host: str, groups: Sequence[str]) -> list[Origin]:
        """Return the places that set a variable for a host, the one that wins first."""
        keys = [(variable, host, True), *((variable, group, False) for group in groups)]
        return [self._found[key] for key in keys if key in self._found]


def broken_yaml(source: str) -> str | None:
    """Return `file:line` of the first file of an inventory that should be YAML and is not."""
    for file in files(Path(source)):
        if file.suffix in YAML_SUFFIXES or (not file.suffix and variable_folder(file)):
            try:
                yaml.compose(file.read_bytes(), Loader=yaml.SafeLoader)
            except (OSError, yaml.YAMLError) as error:
                mark = getattr(error, "problem_mark", None)
                return f"{file}:{mark.line + 1}" if mark else str(file)
    return None


def _extra_text(given: str) -> str:
    """Return what an -e sets; for a file, what is in it."""
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).expanduser().read_text()
    except (OSError, UnicodeDecodeError):
        return given


def files(source: Path) -> list[Path]:
    """Return the files of an inventory, those with variables included."""
    if source.is_dir():
        return sorted(path for path in source.rglob("*") if path.is_file())
    beside = [source.parent / folder for folder in _VARIABLE_FOLDERS]
    return [
        *(f for folder in beside if folder.is_dir() for f in sorted(folder.rglob("*")) if f.is_file()),
        source,
    ]


def _read(file: Path) -> Iterator[Origin]:
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError):
        return  # a program or a binary file has no line that sets a variable
    if kind := variable_folder(file):
        below = file.parts[file.parts.index(kind) + 1 :]
        owner = below[0] if len(below) > 1 else file.stem
        yield from _top_level(text, owner, kind == "host_vars", file)
    elif file.suffix in YAML_SUFFIXES:
        yield from _yaml_inventory(text, file)
    elif not text.startswith("#!"):
        yield from _ini(text, file)


def variable_folder(file: Path) -> str | None:
    """Return which folder of variables (host_vars, group_vars) contains a file, at any depth."""
    parents = [parent.name for parent in file.parents]
    return next((name for name in _VARIABLE_FOLDERS if name in parents), None)


def _ini(text: str, file: Path) -> Iterator[Origin]:
    group, kind = "ungrouped", None
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        section = _SECTION.fullmatch(line)
        if section:
            group, kind = section["name"], section["kind"]
        elif not line or line[0] in "#;":
            continue
        elif kind == "vars":
            if found := _ASSIGNMENT.match(line):
                text = line.partition("=")[2]
                yield Origin(found["name"], group, False, file, number, text)
        elif kind is None:
            host, _, rest = line.partition(" ")
            for found in _PAIR.finditer(rest):
                text = found[0].partition("=")[2]
                for name in _expand(host):
                    yield Origin(found["name"], name, True, file, number, text, in_host_line=True)


def _expand(pattern: str) -> list[str]:
    """Return the hosts of an INI range such as `gpu[01:20]`, or the one host of that name."""
    found = re.fullmatch(r"(.*)\[(\d+):(\d+)\](.*)", pattern)
    if not found:
        return [pattern.split(":", maxsplit=1)[0]]
    head, first, last, tail = found.groups()
    return [f"{head}{number:0{len(first)}d}{tail}" for number in range(int(first), int(last) + 1)]


def _compose(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None  # Ansible has its own message for a file that it cannot read


def _pairs(node: yaml.Node | None) -> Iterator[tuple[str, int, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), key.start_mark.line + 1, value


def written(node: yaml.Node) -> str:
    """Return the text of a value in its file, with its tag."""
    first, last = node.start_mark, node.end_mark
    return str(first.buffer[first.pointer : last.pointer]) if first.buffer else ""


def _top_level(text: str, owner: str, is_host: bool, file: Path) -> Iterator[Origin]:
    for name, line, node in _pairs(_compose(text)):
        yield Origin(name, owner, is_host, file, line, written(node))


def _yaml_inventory(text: str, file: Path) -> Iterator[Origin]:
    for group, _, body in _pairs(_compose(text)):
        yield from _yaml_group(group, body, file)


def _yaml_group(group: str, body: yaml.Node, file: Path) -> Iterator[Origin]:
    for part, _, content in _pairs(body):
        if part == "vars":
            for name, line, node in _pairs(content):
                yield Origin(name, group, False, file, line, written(node))
        elif part == "hosts":
            for host, _, own in _pairs(content):
                for each in _expand(host):
                    for name, line, node in _pairs(own):
                        yield Origin(name, each, True, file, line, written(node))
        elif part == "children":
            for child, _, child_body in _pairs(content):
                yield from _yaml_group(child, child_body, file)
