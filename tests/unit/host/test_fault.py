# SPDX-License-Identifier: Apache-2.0
"""Whatever ends work on a host is reported with a message and a next step."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest
from ansible.module_utils.provision.host.entry import end as end_module
from ansible.module_utils.provision.host.fault import AGAIN, REMEDIES, ConsentNeeded, Fault, fault_of


class Ended(Exception):
    """Stand for the end of a module's process."""


class Module:
    """Keep what a module ends with."""

    def __init__(self) -> None:
        self.result: dict[str, Any] = {}

    def fail_json(self, **result: Any) -> None:
        self.result = {"failed": True, **result}
        raise Ended

    def exit_json(self, **result: Any) -> None:
        self.result = result
        raise Ended


def ended_with(error: BaseException | dict[str, Any]) -> dict[str, Any]:
    """Return the result of a module whose work ends like this."""
    module = Module()

    def work(_: object) -> dict[str, Any]:
        if isinstance(error, BaseException):
            raise error
        return error

    with pytest.raises(Ended):
        end_module(module, work)
    return module.result


def test_a_fault_keeps_its_words() -> None:
    fault = Fault("the door is locked", "find the key")
    assert fault_of(fault) is fault
    assert ended_with(fault) == {
        "failed": True,
        "msg": "the door is locked",
        "finished": True,
        "provision": {"next": "find the key"},
    }


@pytest.mark.parametrize("code", REMEDIES)
def test_an_error_of_the_file_system_names_the_file_and_a_remedy(code: int) -> None:
    result = ended_with(OSError(code, os.strerror(code), "/var/lib/provision/x"))
    assert result["msg"] == f"/var/lib/provision/x: {os.strerror(code)}"
    assert result["provision"]["next"].startswith(REMEDIES[code])


def test_an_error_of_two_files_names_both() -> None:
    error = OSError(errno.EXDEV, "Invalid cross-device link", b"/a", None, b"/b")
    assert str(fault_of(error)) == "/a -> /b: Invalid cross-device link"


def test_an_error_without_a_number_is_shown_as_it_is() -> None:
    assert str(fault_of(OSError("the disk is gone"))) == "the disk is gone"
    assert str(fault_of(OSError())) == "OSError"


def test_consent_lists_what_it_is_needed_for() -> None:
    result = ended_with(ConsentNeeded(["restart a", "remove b"]))
    assert result["msg"] == "needs consent: restart a; remove b"
    assert result["provision"]["consent"] == ["restart a", "remove b"]
    assert "--yes" in result["provision"]["next"]


def test_a_result_that_failed_fails() -> None:
    assert ended_with({"changed": False}) == {"changed": False}
    assert ended_with({"failed": True, "msg": "no"}) == {"failed": True, "msg": "no"}


def test_a_defect_in_a_module_keeps_its_traceback() -> None:
    def work(_: object) -> dict[str, Any]:
        raise KeyError("missing")

    with pytest.raises(KeyError):
        end_module(Module(), work)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (KeyError("spec"), "unexpected KeyError: 'spec'"),
        (ValueError(), "unexpected ValueError"),
        (MemoryError(), "the host ran out of memory"),
    ],
)
def test_a_defect_names_its_kind(error: Exception, says: str) -> None:
    fault = fault_of(error)
    assert str(fault) == says
    assert "the same command again" in fault.next_step


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
def test_a_stop_is_no_defect(error: BaseException) -> None:
    assert (str(fault_of(error)), fault_of(error).next_step) == (
        "it was stopped before it had finished",
        AGAIN,
    )
