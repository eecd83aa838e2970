# SPDX-License-Identifier: Apache-2.0
"""Every host is asked for its facts at every run, so for none that nobody reads."""

from __future__ import annotations

import re

import pytest

from provisioner.ansible.modules import host_probe
from tests.contract import tree

# A reboot is over when this one has changed; until something here reboots a host, nobody reads it.
AWAITED = {"boot_token"}
READERS = [
    path
    for folder in ("roles", "playbooks", "templates")
    for pattern in ("*.yml", "*.j2")
    for path in sorted((tree.ROOT / folder).rglob(pattern))
]


def test_what_is_probed_and_what_is_read_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_probe, "run", lambda *_: "")
    read = {
        fact
        for path in READERS
        for fact in re.findall(r"ansible_facts\.host_probe\.(\w+)", path.read_text(encoding="utf-8"))
    }
    assert read | AWAITED == set(host_probe.probe(0.0, None))
