# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from provisioner.fleet import variables
from provisioner.fleet.variables import Variable


def word(kind: str, elements: str | None = None, choices: tuple[str, ...] = ()) -> Variable:
    return Variable("word", kind, elements, choices, None, "", "role")


@pytest.mark.parametrize(
    ("given", "kind", "expected"),
    [
        ("8001", word("int"), 8001),
        ("yes", word("bool"), True),
        ("0,1", word("list", "str"), ["0", "1"]),
        ('{"A": 1}', word("dict"), {"A": 1}),
        ("b", word("str", choices=("a", "b")), "b"),
        (None, word("str", choices=("a", "b")), None),
    ],
)
def test_values_are_read_as_ansible_reads_them(given: object, kind: Variable, expected: object) -> None:
    assert variables.check(kind, given) == (expected, None)


@pytest.mark.parametrize(
    ("given", "kind", "reason"),
    [
        ("80x1", word("int"), "must be a whole number"),
        (True, word("int"), "must be a whole number, not true or false"),
        (["a"], word("str"), "must be text, not a list"),
        ("A", word("dict"), "must be a mapping of names to values"),
        (["x"], word("list", "int"), "must be a list whose every item is a whole number"),
        ("c", word("str", choices=("a", "b")), "must be one of a, b"),
    ],
)
def test_the_reason_is_in_plain_words(given: object, kind: Variable, reason: str) -> None:
    assert variables.check(kind, given) == (given, reason)


@pytest.mark.parametrize(
    "given", ["{{ x }}", ["a", "{% if x %}"], {"a": "{{ x }}"}, {"__ansible_vault": "$ANSIBLE_VAULT"}]
)
def test_what_only_ansible_can_know_is_left_to_it(given: object) -> None:
    assert variables.check(word("int"), given) == (given, None)
