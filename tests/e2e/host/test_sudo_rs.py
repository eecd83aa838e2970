# SPDX-License-Identifier: Apache-2.0
"""Become root with a password where sudo is the real sudo-rs: with the tool, and with plain Ansible."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.machines import Machines, started

FLEET = Path(__file__).with_name("sudo_rs.ini")
LAB, HOST = "e2e-sudo", "rust"
USER = """
set -e
useradd -m -s /bin/bash ops
echo 'ops:can"ary 1' | chpasswd
echo 'ops ALL=(ALL:ALL) ALL' > /etc/sudoers.d/ops
install -d -m 700 -o ops ~ops/.ssh
install -m 600 -o ops ~lab/.ssh/authorized_keys ~ops/.ssh/authorized_keys
"""


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    with started(FLEET, LAB):
        found = Machines(FLEET, lab=LAB)
        found.sh(HOST, USER)
        yield found


@pytest.mark.parametrize(("password", "works"), [('can"ary 1', True), ("wrong", False)])
def test_a_password_is_enough(
    machines: Machines, checkout: Path, monkeypatch: pytest.MonkeyPatch, password: str, works: bool
) -> None:
    monkeypatch.setenv("SUDO_PASSWORD", password)
    mine = replace(machines, environment=dict(os.environ))
    ran = mine.provision("exec", str(FLEET), "-b", "--", "id -un; sudo --version", code=0 if works else 1)
    plain = subprocess.run(
        [checkout / ".venv/bin/ansible", "-i", FLEET, "all", "-m", "ansible.builtin.ping"],
        cwd=checkout,
        env={**mine.environment, "ANSIBLE_CONFIG": str(checkout / "ansible.cfg")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    if works:
        assert "  root\n" in ran.out
        assert "sudo-rs" in ran.err
        assert "pong" in plain
    else:
        assert "sudo did not accept the password" in ran.err
        assert "Incorrect sudo password" in plain
