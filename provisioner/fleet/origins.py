# SPDX-License-Identifier: Apache-2.0
"""Find the file and line that set a variable, which Ansible's own listing leaves out."""

from __future__ import annotations

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
    """One place that sets a variable, for a host or for a group."""

    variable: str
    owner: str
    is_host: bool
    file: Path
    line: int

    def __str__(self) -> str:
        """Return `file:line (group name)`, or the host's name."""
        return f"{self.file}:{self.line} ({'host' if self.is_host else 'group'} {self.owner})"


class Origins:
    """The places where the files of one inventory set variables; they are read once."""

    def __init__(self, source: str, extra_vars: Sequence[str] = ()) -> None:
        self._source = source
        self._extra = " ".join(extra_vars)
        self._found = [origin for file in _files(Path(source)) for origin in _read(file)]

    def of(self, variable: str, host: str, groups: Sequence[str]) -> str:
        """Return the place that set `variable` for `host`; a host beats its groups, the nearest first."""
        if re.search(rf"(?<!\w){re.escape(variable)}(?!\w)", self._extra):
            return "the command line (-e)"
        owners = [(host, True), *((group, False) for group in groups)]
        for owner, is_host in owners:
            for origin in reversed(self._found):
                if (origin.variable, origin.owner, origin.is_host) == (variable, owner, is_host):
                    return str(origin)
        return f"{self._source} (host {host})"


def broken_yaml(source: str) -> str | None:
    """Return `file:line` of the first file of an inventory that should be YAML and is not."""
    for file in _files(Path(source)):
        if file.suffix in YAML_SUFFIXES or (not file.suffix and _variable_folder(file)):
            try:
                yaml.compose(file.read_bytes(), Loader=yaml.SafeLoader)
            except (OSError, yaml.YAMLError) as error:
                mark = getattr(error, "problem_mark", None)
                return f"{file}:{mark.line + 1}" if mark else str(file)
    return None


def _files(source: Path) -> list[Path]:
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
    if kind := _variable_folder(file):
        below = file.parts[file.parts.index(kind) + 1 :]
        owner = below[0] if len(below) > 1 else file.stem
        yield from _top_level(text, owner, kind == "host_vars", file)
    elif file.suffix in YAML_SUFFIXES:
        yield from _yaml_inventory(text, file)
    elif not text.startswith("#!"):
        yield from _ini(text, file)


def _variable_folder(file: Path) -> str | None:
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
                yield Origin(found["name"], group, False, file, number)
        elif kind is None:
            host, _, rest = line.partition(" ")
            for found in _PAIR.finditer(rest):
                for name in _expand(host):
                    yield Origin(found["name"], name, True, file, number)


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


def _top_level(text: str, owner: str, is_host: bool, file: Path) -> Iterator[Origin]:
    for name, line, _ in _pairs(_compose(text)):
        yield Origin(name, owner, is_host, file, line)


def _yaml_inventory(text: str, file: Path) -> Iterator[Origin]:
    for group, _, body in _pairs(_compose(text)):
        yield from _yaml_group(group, body, file)


def _yaml_group(group: str, body: yaml.Node, file: Path) -> Iterator[Origin]:
    for part, _, content in _pairs(body):
        if part == "vars":
            yield from (Origin(name, group, False, file, line) for name, line, _ in _pairs(content))
        elif part == "hosts":
            for host, _, own in _pairs(content):
                for each in _expand(host):
                    yield from (Origin(name, each, True, file, line) for name, line, _ in _pairs(own))
        elif part == "children":
            for child, _, child_body in _pairs(content):
                yield from _yaml_group(child, child_body, file)
