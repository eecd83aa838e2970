# SPDX-License-Identifier: Apache-2.0
"""A host that is not the one it was."""

from __future__ import annotations

from pathlib import Path

from provisioner.lab import controller
from tests.e2e.machines import LAB, Machines, inventory_with


def test_a_changed_host_key_is_refused_with_the_way_out(serving: Machines, tmp_path: Path) -> None:
    """Reach a host by a name that is known with the key of another."""
    line = (controller.state_dir(LAB) / "known_hosts").read_text().splitlines()
    key = next(entry for entry in line if entry.startswith("[127.0.0.1]:2241")).partition(" ")[2]
    known = tmp_path / "known_hosts"
    known.write_text(f"[localhost]:2242 {key}\n")
    stranger = "\nstranger ansible_host=localhost ansible_port=2242\n\n[serving]\n"
    replaced = [("\n[serving]\n", stranger), ("{{ key_folder }}/known_hosts", str(known))]
    inventory = str(inventory_with(tmp_path, serving.inventory, replaced))
    done = serving.provision("apply", inventory, "--limit", "stranger", "--yes", "--json", code=1)
    (failure,) = done.report["failures"]
    assert "host key" in failure["message"]
    assert "ssh-keygen" in failure["next"]
    assert "-R '[localhost]:2242'" in failure["next"]
