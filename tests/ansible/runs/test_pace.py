# SPDX-License-Identifier: Apache-2.0
"""Let real Ansible run the shipped phase with made-up roles, and look at who waits for whom."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from provisioner import content

ROLES = {
    "engine_common/tasks/prune.yml": "[]",
    "engine_slow/tasks/main.yml": """
- name: Take long
  ansible.builtin.command: sleep 3
- name: Note the end
  ansible.builtin.shell: date +%s.%N > {{ folder }}/{{ inventory_hostname }}-{{ service.unit }}
""",
    "engine_quick/tasks/main.yml": """
- name: Note the end
  ansible.builtin.shell: date +%s.%N > {{ folder }}/{{ inventory_hostname }}-{{ service.unit }}
""",
}
SITE = """
- name: Resolve the services
  hosts: all
  gather_facts: false
  tasks:
    - name: Set the facts of the first phase
      ansible.builtin.set_fact:
        provision_services: "{{ services }}"
        cacheable: true
- name: Serve
  ansible.builtin.import_playbook: %s
"""
HOSTS = """
all:
  vars:
    ansible_connection: local
    ansible_python_interpreter: %s
    ansible_become: false
    folder: %s
  hosts:
    one: {services: [{engine: slow, unit: first}]}
    two: {services: [{engine: quick, unit: first}, {engine: quick, unit: second}]}
"""


def test_a_host_does_not_wait_for_the_engine_of_another(tmp_path: Path) -> None:
    for name, text in ROLES.items():
        (tmp_path / "roles" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "roles" / name).write_text(text)
    (tmp_path / "site.yml").write_text(SITE % content.playbook("serve"))
    (tmp_path / "hosts.yml").write_text(HOSTS % (sys.executable, tmp_path))
    environment = {
        **os.environ,
        "ANSIBLE_ROLES_PATH": str(tmp_path / "roles"),
        # As the command sets it: a phase's own choice must win.
        "ANSIBLE_STRATEGY": "linear",
        "ANSIBLE_BECOME": "false",
    }
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.yml", "-e", "ansible_become=false"]
    done = subprocess.run(
        [*command, "site.yml"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ended = {
        file.name: float(file.read_text()) for file in tmp_path.glob("*-*") if not file.name.endswith(".yml")
    }
    assert set(ended) == {"one-first", "two-first", "two-second"}
    assert max(ended["two-first"], ended["two-second"]) < ended["one-first"]
