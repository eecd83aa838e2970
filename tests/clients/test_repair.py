# SPDX-License-Identifier: Apache-2.0
"""Mend and change a directory that is already served, with the hubs' real clients."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.provision.host.fault import Fault
from ansible.module_utils.provision.models.fetch import fetch
from ansible.module_utils.provision.models.files import MANIFEST, Wanted, doubt

from tests.clients.served import ONE, TWO, Orders, assert_served_whole, flip, outcome, sums


def test_only_a_changed_file_is_fetched_again(hub: Any, orders: Orders, source: str) -> None:
    spec = orders(source)
    fetch(spec)
    directory = Path(spec["directory"])
    engine = (directory / ONE).open("rb")  # an engine that has the file mapped keeps the old bytes
    flip(directory / ONE)
    hub.forget()
    assert doubt(directory, Wanted.of(spec)).startswith(ONE)
    fetch(spec)
    assert outcome(spec)["fetched"] == [ONE]
    assert hub.stats(ONE)["requests"] == 1
    assert not any(hub.stats(name) for name in ("", TWO, "config.json"))
    assert_served_whole(hub, spec)
    with engine:
        assert hashlib.sha256(engine.read()).hexdigest() != sums(hub.model)[ONE]


def test_a_touched_file_with_the_right_bytes_costs_no_fetch(hub: Any, orders: Orders) -> None:
    spec = orders()
    fetch(spec)
    directory = Path(spec["directory"])
    written = (directory / MANIFEST).stat().st_mtime_ns
    (directory / ONE).touch()
    hub.forget()
    fetch(spec)
    assert outcome(spec)["changed"] is False
    assert not hub.stats(ONE)
    assert (directory / MANIFEST).stat().st_mtime_ns == written
    assert doubt(directory, Wanted.of(spec)) == ""


def test_a_narrower_wish_drops_files_and_a_wider_one_fetches_them(
    hub: Any, orders: Orders, source: str
) -> None:
    narrow = orders(source, exclude=["*-00002-of-*"])
    fetch(narrow)
    directory = Path(narrow["directory"])
    assert TWO not in sums(directory)
    hub.forget()
    fetch(orders(source))
    assert sums(directory) == sums(hub.model)
    assert not hub.stats(ONE)
    fetch(narrow)
    assert TWO not in sums(directory)


def test_a_repair_stays_with_the_commit_that_was_fetched(hub: Any, orders: Orders) -> None:
    spec = orders()
    fetch(spec)
    flip(Path(spec["directory"]) / ONE)
    flip(hub.model / ONE)  # the branch moves on
    with pytest.raises(Fault, match="has no"):
        fetch(spec)
