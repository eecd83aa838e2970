# SPDX-License-Identifier: Apache-2.0
"""User-facing text is plain English in standard terms; the list of files that are not clean only shrinks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract import tree

wording = tree.script("wording")


def test_no_file_has_more_banned_phrases_than_it_is_allowed() -> None:
    allowed = wording.allowed()
    found = wording.survey(wording.working_tree())
    wrong = [
        f"{path}: …{hit.excerpt}…: as in {hit.phrase.example!r}; write {hit.phrase.instead!r}"
        for path, hits in found.items()
        if len(hits) > allowed.get(path, 0)
        for hit in hits
    ]
    assert not wrong, "\n".join(wrong)


def test_the_list_of_allowed_phrases_shrinks_with_each_file_that_is_cleaned() -> None:
    found = wording.survey(wording.working_tree())
    fewer = {
        path: f"{len(found.get(path, ()))} instead of {count}"
        for path, count in wording.allowed().items()
        if len(found.get(path, ())) < count
    }
    assert not fewer, f"run scripts/wording --update: {fewer}"


@pytest.mark.parametrize("phrase", wording.phrases(), ids=lambda phrase: phrase.example)
def test_every_phrase_is_found(phrase: Any) -> None:
    assert phrase.found(phrase.example)
    assert not phrase.found(phrase.instead)


@pytest.mark.parametrize(
    "text",
    [
        "Set up the lab and bring it up",
        "There is no GPU, and it is no longer used",
        "It tells the truth, and tells two GPUs apart",
        "In other words, a 32-bit word",
        "A list of your own builds",
        "It asked for consent and came from the repository",
        "A simulator stands in for conda",
        "It has no password",
        "Report that the essay is baseless",
    ],
)
def test_plain_english_is_not_refused(text: str) -> None:
    assert not [phrase.example for phrase in wording.phrases() if phrase.found(text)]


@pytest.mark.parametrize(
    ("path", "text", "count"),
    [
        ("provisioner/a.py", '"""Tell why."""\nBRING = f"it {x} tells\\n {y!r} nothing"\n', 2),
        ("roles/a/library/a.py", 'fail("bring " "it about")\n', 1),
        ("scripts/a", '#!/usr/bin/env python3\n# bring it\nprint("bring it")\n', 1),
        ("scripts/b", "#!/bin/sh\necho bring it # told\n", 2),
        ("roles/a/tasks/main.yml", "# told\n- name: Bring it\n  words: {bring: [told it, told]}\n", 2),
        ("roles/a/vars/main.yml", "a: >-\n  {{ 'told it' if words else 'bring' }} and\n  told\n", 2),
        ("a.md", "Bring\nit `bring it`\n```\nbring it\n```\n", 1),
        ("CHANGELOG.md", "## [Unreleased]\n\nbring it\n\n## [1.0.0]\n\nbring it\n", 1),
        ("README.zh-CN.md", "bring it\n", 0),
        ("tests/unit/test_a.py", 'x = "bring it"\n', 0),
        ("provisioner/a.py", 'x = "bring"\n', 0),
    ],
)
def test_texts_are_found_in_every_kind_of_file(path: str, text: str, count: int) -> None:
    assert len(wording.hits(path, text)) == count
