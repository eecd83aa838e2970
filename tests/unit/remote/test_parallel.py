# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading

import pytest

from provisioner.errors import HostError
from provisioner.remote import parallel


def test_one_that_hangs_holds_up_no_other() -> None:
    never = threading.Event()

    def work(name: str) -> str:
        if name == "hangs":
            never.wait()
        if name == "fails":
            raise HostError("no way there")
        return name.upper()

    found = dict(parallel.each(["hangs", "fails", "a", "b"], work, seconds=0.3, at_once=1))
    never.set()
    assert (found["a"], found["b"]) == ("A", "B")
    assert "no result within 0.3 s" in str(found["hangs"])
    assert str(found["fails"]) == "no way there"


def test_all_are_worked_on_at_once() -> None:
    together = threading.Barrier(3)
    found = dict(parallel.each([1, 2, 3], lambda _: together.wait(20), seconds=30))
    assert sorted(found) == [1, 2, 3]


def test_a_bug_is_raised_and_not_taken_for_a_hosts_failure() -> None:
    with pytest.raises(ZeroDivisionError):
        list(parallel.each([0], lambda number: 1 // number, seconds=30))


def test_nothing_to_do_is_done() -> None:
    assert list(parallel.each([], str, seconds=1)) == []
