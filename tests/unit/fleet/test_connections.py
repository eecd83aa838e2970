# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.fleet.test_spec import HOST, fleet_of, problems_of


@pytest.mark.parametrize(
    "kind", ["winrm", "ansible.netcommon.network_cli", "psrp", "community.docker.docker", "'{{ kind }}'"]
)
def test_a_connection_other_than_ssh_and_local_is_refused(tmp_path: Path, kind: str) -> None:
    (said,) = problems_of(tmp_path / "hosts.ini", f"{HOST} ansible_connection={kind} kind=winrm\n")
    assert said.startswith("ansible_connection: is not supported: hosts must be reached by ssh, or be local")
    assert "--limit" in said


@pytest.mark.parametrize("kind", ["ssh", "smart", "local", "ansible.builtin.ssh", "'{{ kind }}'"])
def test_ssh_and_local_connections_are_let_through(tmp_path: Path, kind: str) -> None:
    assert fleet_of(tmp_path / "hosts.ini", f"{HOST} ansible_connection={kind} kind=ssh\n").hosts
