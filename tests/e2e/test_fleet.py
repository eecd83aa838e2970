# SPDX-License-Identifier: Apache-2.0
"""What one bad host does to the others."""

from __future__ import annotations

import re
from pathlib import Path

from provisioner import lab
from tests.e2e.machines import LAB, Machines


def test_a_host_that_is_down_does_not_stop_the_others(serving: Machines) -> None:
    lab.kill("third", lab=LAB)
    try:
        done = serving.apply("--limit", "serving,third", code=1)
    finally:
        lab.start("third", lab=LAB)
    (failure,) = done.report["failures"]
    assert (failure["host"], failure["kind"]) == ("third", "unreachable")
    assert "\n" not in failure["message"]
    assert {answer["host"] for answer in done.report["answers"]} == {"hf", "ms"}


def test_a_changed_host_key_is_refused_with_the_way_out(serving: Machines) -> None:
    known = Path(re.sub(r".*UserKnownHostsFile=(\S+).*", r"\1", lab.ssh_command(LAB)))
    right = known.read_text()
    lines = right.splitlines()
    third = next(number for number, line in enumerate(lines) if line.startswith("[127.0.0.1]:2243"))
    other = next(line for line in lines if line.startswith("[127.0.0.1]:2241"))
    lines[third] = other.replace(":2241", ":2243")
    known.write_text("\n".join(lines) + "\n")
    try:
        done = serving.apply("--limit", "third", code=1)
    finally:
        known.write_text(right)
    (failure,) = done.report["failures"]
    assert "host key" in failure["message"]
    assert "ssh-keygen" in failure["next"]
    assert "-R '[127.0.0.1]:2243'" in failure["next"]
