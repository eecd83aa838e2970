# SPDX-License-Identifier: Apache-2.0
"""Let real Ansible remove what the inventory no longer names; the modules only write down what they get."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - host_probe:
    - ansible.builtin.include_role: {name: engine_common, tasks_from: prune}
    - ansible.builtin.debug: {msg: "LEFT={{ ansible_facts.host_probe.services | length }}"}
"""
ENGINE_SERVICE = """
import json
from ansible.module_utils.basic import AnsibleModule

kinds = {"unit": "str", "state": "str", "user": "str", "consent": "bool", "replaced": "bool"}
spec = {name: {"type": kind} for name, kind in kinds.items()}
module = AnsibleModule(spec, supports_check_mode=True)
with open(CALLS, "a") as calls:
    calls.write(json.dumps(module.params) + "\\n")
if module.params["state"] == "inspected" and not module.params["consent"] and not module.check_mode:
    module.fail_json(msg="needs consent")
module.exit_json(changed=module.params["state"] == "absent")
"""
HOST_PROBE = """
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({"controller_clock": {"type": "float"}}, supports_check_mode=True)
gone = [line for line in open(CALLS) if '"absent"' in line]
services = [one for one in SERVICES if not any(one["unit"] in line for line in gone)]
facts = {"host_probe": {"services": services}, "provision_services": NAMED}
module.exit_json(ansible_facts=facts)
"""
SERVICES = [
    {"unit": "vllm.service", "engine": "vllm", "serve_name": "vllm", "user": "vllm"},
    {"unit": "vllm-b.service", "engine": "vllm", "serve_name": "b", "user": "vllm"},
    {"unit": "gone@x.service", "engine": "gone", "serve_name": "x", "user": "gone"},
]
NAMED = [{"unit": "vllm.service", "engine": "vllm"}]


class Play:
    """Run the play in a folder and read what the modules were given."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.checkout, self.folder = checkout, folder
        self.calls_file = folder / "calls"
        self.library = folder / "library"

    def run(self, *options: str, services: Any = SERVICES, named: Any = NAMED) -> tuple[int, str]:
        self.library.mkdir(exist_ok=True)
        self.calls_file.write_text("")
        head = f"CALLS = {str(self.calls_file)!r}\nSERVICES = {services!r}\nNAMED = {named!r}\n"
        (self.library / "engine_service.py").write_text(head + ENGINE_SERVICE)
        (self.library / "host_probe.py").write_text(head + HOST_PROBE)
        (self.folder / "play.yml").write_text(PLAY)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "ANSIBLE_ROLES_PATH": str(self.checkout / "roles"),
            "ANSIBLE_LIBRARY": str(self.library),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "ANSIBLE_LOCALHOST_WARNING": "false",
        }
        command = [sys.executable, "-m", "ansible", "playbook", "-i", "host,", "-c", "local", "play.yml"]
        done = subprocess.run(
            [*command, *options],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return done.returncode, done.stdout

    def calls(self, state: str) -> list[dict[str, Any]]:
        lines = map(json.loads, self.calls_file.read_text().splitlines())
        return [call for call in lines if call["state"] == state]


@pytest.fixture
def play(checkout: Path, tmp_path: Path) -> Play:
    return Play(checkout, tmp_path)


UNNAMED = ["vllm-b.service", "gone@x.service"]


def test_asks_about_all_of_them_before_any_of_them_goes(play: Play) -> None:
    code, _ = play.run("-e", '{"provision_consent": false}')
    assert code != 0
    assert [call["unit"] for call in play.calls("inspected")] == UNNAMED
    assert play.calls("absent") == []


def test_removes_them_by_the_roles_of_their_engines_and_looks_again(play: Play) -> None:
    code, said = play.run()
    assert code == 0, said
    # The user of an engine that another service needs stays; what no role knows is removed all the same.
    assert [(call["unit"], call["user"], call["replaced"]) for call in play.calls("absent")] == [
        ("vllm-b.service", "vllm", True),
        ("gone@x.service", "gone", False),
    ]
    assert all(call["consent"] for call in play.calls("absent"))
    assert "LEFT=1" in said


def test_a_dry_run_goes_through_and_believes_nothing_gone(play: Play) -> None:
    code, said = play.run("--check", "-e", '{"provision_consent": false}')
    assert code == 0, said
    assert [call["unit"] for call in play.calls("absent")] == UNNAMED
    assert "LEFT=3" in said


def test_a_host_that_is_as_named_is_not_touched(play: Play) -> None:
    code, said = play.run(services=SERVICES[:1])
    assert code == 0, said
    assert play.calls_file.read_text() == ""
    assert "changed=0" in said
