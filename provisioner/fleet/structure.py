# SPDX-License-Identifier: Apache-2.0
"""Find what Ansible misreads in an inventory, or leaves out with no more than a warning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import yaml

from provisioner.errors import InventoryError
from provisioner.fleet import findings, origins

_PARTS = ("hosts", "children", "vars")
# People keep anchors below such names.
_NO_GROUP = ("x-", ".", "_")
_UTF8, _UTF16 = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


def check(source: str) -> None:
    """Raise InventoryError where Ansible would not read the whole inventory as it is meant."""
    for file in origins.files(Path(source)):
        if _is_passed_over(file, Path(source)):
            continue
        is_yaml = file.suffix in origins.YAML_SUFFIXES
        of_variables = origins.variable_folder(file) is not None
        _check_mark(file, skipped=is_yaml or of_variables)
        if is_yaml and not of_variables:
            _check_yaml(file)


def _is_passed_over(file: Path, source: Path) -> bool:
    """Return whether Ansible does not look at a file in the folder of an inventory."""
    parts = file.relative_to(source).parts if source.is_dir() else ()
    return any(part.startswith(".") or part == "vars_plugins" for part in parts)


def _check_mark(file: Path, *, skipped: bool) -> None:
    try:
        with file.open("rb") as content:
            first = content.read(3)
    except OSError:
        return  # Ansible reports it
    if first.startswith(_UTF16) or (first == _UTF8 and not skipped):
        raise InventoryError(
            f"the inventory cannot be read: {file} begins with a byte order mark",
            next_step="save the file as UTF-8 without a byte order mark (BOM)",
        )


def _check_yaml(file: Path) -> None:
    try:
        top = yaml.compose(file.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError):
        return  # Ansible reports it
    if top is None:
        return
    if not isinstance(top, yaml.MappingNode):
        _refuse(file, top, "a mapping of groups is missing at the top", "write `all:`, and `hosts:` below it")
    if any(key.value == "plugin" for key, _ in top.value):
        return
    edges: dict[str, list[str]] = {}
    for key, body in top.value:
        if not str(key.value).startswith(_NO_GROUP) and not _is_anchor(body):
            _check_group(file, key, body, edges)


def _check_group(file: Path, group: yaml.Node, body: yaml.Node, edges: dict[str, list[str]]) -> None:
    name = str(group.value)
    if not isinstance(body, yaml.MappingNode):
        if not _is_null(body):
            _refuse(file, group, f"{name} is not a group", f"put it below {' or '.join(_PARTS)} of a group")
        return
    for key, content in body.value:
        if key.value not in _PARTS:
            _unexpected(file, name, key)
        is_list = isinstance(content, yaml.SequenceNode)
        if is_list or (
            key.value == "vars" and isinstance(content, yaml.ScalarNode) and not _is_null(content)
        ):
            hint = "write each item as `name:`, without a dash" if is_list else "write them as `name: value`"
            _refuse(file, key, f"{key.value} of {name} must be a mapping", hint)
        if key.value == "children" and isinstance(content, yaml.MappingNode):
            for child, below in content.value:
                edges.setdefault(name, []).append(str(child.value))
                if circle := _circle(edges, name):
                    _refuse(file, child, f"groups form a circle: {' → '.join(circle)}", "remove one of them")
                _check_group(file, child, below, edges)


def _unexpected(file: Path, group: str, key: yaml.Node) -> NoReturn:
    """Refuse a key that Ansible skips, with what was probably meant."""
    name = str(key.value)
    if group in _PARTS:
        _refuse(file, key, f"{group} is at the top, where Ansible reads groups", f"put {group} below `all:`")
    near = findings.nearest(name, _PARTS, 0.75)
    hint = f"did you mean {near}?" if near else f"put it below {' or '.join(_PARTS)} of {group}"
    _refuse(file, key, f"Ansible skips {name} in the group {group}", hint)


def _circle(edges: Mapping[str, Sequence[str]], start: str) -> list[str]:
    """Return the groups on the way from one back to itself, if there is a way."""
    return next(_ways(edges, [start]), [])


def _ways(edges: Mapping[str, Sequence[str]], way: list[str]) -> Iterator[list[str]]:
    for child in edges.get(way[-1], ()):
        if child == way[0]:
            yield [*way, child]
        elif child not in way:
            yield from _ways(edges, [*way, child])


def _is_null(node: yaml.Node) -> bool:
    return node.tag == "tag:yaml.org,2002:null"


def _is_anchor(node: yaml.Node) -> bool:
    """Return whether a node is there to be referred to."""
    return origins.written(node).startswith("&")


def _refuse(file: Path, node: yaml.Node, reason: str, hint: str) -> NoReturn:
    place = f"{file}:{node.start_mark.line + 1}"
    raise InventoryError(f"the inventory cannot be read: {reason} ({place})", next_step=hint)
