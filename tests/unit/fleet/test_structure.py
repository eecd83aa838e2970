# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.errors import InventoryError
from provisioner.fleet import structure


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("- h1\n- h2\n", "a mapping of groups is missing at the top (FILE:1)", "write `all:`"),
        ("h1\n", "a mapping of groups is missing at the top (FILE:1)", "write `all:`"),
        ("hosts:\n  h1:\n", "hosts is at the top, where Ansible reads groups (FILE:2)", "put hosts below"),
        ("vars:\n  a: 1\n", "vars is at the top, where Ansible reads groups (FILE:2)", "put vars below"),
        ("all:\n  host:\n    h1:\n", "Ansible skips host in the group all (FILE:2)", "did you mean hosts?"),
        (
            "g:\n  childern: {a: }\n",
            "Ansible skips childern in the group g (FILE:2)",
            "did you mean children?",
        ),
        ("g:\n  h1:\n  h2:\n", "Ansible skips h1 in the group g (FILE:2)", "put it below hosts or"),
        (
            "g:\n  serve_port: 1\n",
            "Ansible skips serve_port in the group g (FILE:2)",
            "put it below hosts or",
        ),
        ("all:\n  hosts: [h1]\n", "hosts of all must be a mapping (FILE:2)", "without a dash"),
        ("all:\n  children:\n  - a\n", "children of all must be a mapping (FILE:2)", "without a dash"),
        ("all:\n  vars: x\n", "vars of all must be a mapping (FILE:2)", "`name: value`"),
        ("serve_port: 1\n", "serve_port is not a group (FILE:1)", "put it below hosts or"),
        (
            "a:\n  children:\n    b:\n      children:\n        a:\n",
            "groups form a circle: b → a → b (FILE:5)",
            "remove one",
        ),
        (
            "a: {children: {b: }}\nb: {children: {c: }}\nc: {children: {a: }}\n",
            "groups form a circle: c → a → b → c (FILE:3)",
            "remove one",
        ),
        ("a:\n  children:\n    a:\n", "groups form a circle: a → a (FILE:3)", "remove one"),
    ],
)
def test_what_ansible_misreads_is_found_with_its_line(
    tmp_path: Path, text: str, says: str, hint: str
) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(text)
    with pytest.raises(InventoryError) as caught:
        structure.check(str(path))
    assert caught.value.message == f"the inventory cannot be read: {says.replace('FILE', str(path))}"
    assert hint in str(caught.value.next_step)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "all:\n  hosts:\n    h1:\n  children: {a: , b: {hosts: h2}}\n  vars: {x: [1]}\n",
        "plugin: constructed\nkeyed_groups: []\n",
        "x-common:\n  a: 1\nall:\n  hosts:\n    h1:\n",
        "common: &common\n  a: 1\nall:\n  hosts:\n    h1: *common\n",
        "hosts: {hosts: {h1: }}\n",
        "a: {children: {c: }}\nb: {children: {c: }}\nall: {children: {a: , b: }}\n",
        "all: {hosts: [\n",
        "all:\n  hosts:\n    h1: {secret: !vault x}\n",
    ],
)
def test_what_ansible_reads_as_it_is_meant_is_let_through(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(text)
    structure.check(str(path))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("hosts.ini", b"\xef\xbb\xbf[gpu]\nh1\n"),
        ("hosts", b"\xef\xbb\xbfh1 serve_engine=vllm\n"),
        ("hosts.ini", "[gpu]\nh1\n".encode("utf-16")),
        ("hosts.yml", "all: {hosts: {h1: }}\n".encode("utf-16")),
    ],
)
def test_a_byte_order_mark_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InventoryError, match="begins with a byte order mark") as caught:
        structure.check(str(path))
    assert "UTF-8 without" in str(caught.value.next_step)


@pytest.mark.parametrize("name", [".ansible-lint.yml", ".github/workflows/x.yml", "vars_plugins/x.yml"])
def test_files_that_ansible_passes_over_are_not_checked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("skip_list: [a]\n")
    structure.check(str(tmp_path))
    (tmp_path / "seen.yml").write_text("skip_list: [a]\n")
    with pytest.raises(InventoryError, match="skip_list is not a group"):
        structure.check(str(tmp_path))


def test_yaml_may_begin_with_a_mark_because_ansible_skips_it(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/all").write_bytes(b"\xef\xbb\xbfa: 1\n")
    (tmp_path / "hosts.yml").write_bytes(b"\xef\xbb\xbfall: {hosts: {h1: }}\n")
    structure.check(str(tmp_path))
