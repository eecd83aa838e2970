# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from provisioner.errors import LabError
from provisioner.lab import process


def test_a_result_holds_what_the_command_left() -> None:
    result = process.run(["sh", "-c", "cat; echo warning >&2"], stdin=b"text\n")
    assert (result.code, result.text, result.complaint) == (0, "text", "warning")


def test_a_failure_says_what_was_run_and_the_last_complaints() -> None:
    with pytest.raises(LabError) as failed:
        process.run(["sh", "-c", r"printf 'noise\n\na\nb\nreason\n' >&2; exit 3"], next_step="do that")
    assert failed.value.message.endswith("failed: a; b; reason")
    assert failed.value.next_step == "do that"


def test_what_a_program_says_twice_hides_no_reason() -> None:
    with pytest.raises(LabError, match="failed: reason; exit 1; step 3"):
        process.run(["sh", "-c", r"printf 'reason\nexit 1\nexit 1\nstep 3\n' >&2; exit 1"])


def test_a_failure_may_be_the_answer() -> None:
    assert process.run(["sh", "-c", "exit 3"], check=False).code == 3


def test_a_missing_program_is_named() -> None:
    with pytest.raises(LabError, match="`no-such-program` is not installed"):
        process.run(["no-such-program"])


def test_a_late_command_is_ended() -> None:
    with pytest.raises(LabError, match=r"`sleep 60` did not end within 0\.05 s"):
        process.run(["sleep", "60"], seconds=0.05)
