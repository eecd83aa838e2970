# SPDX-License-Identifier: Apache-2.0
"""Let real Ansible choose the devices of a host's services, by the files of the roles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from provisioner.fleet import variables
from tests.unit import engine_roles

PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: engine_{{ service.engine }}
        tasks_from: device
        apply:
          ignore_errors: true
      loop: "{{ range(services | length) | list }}"
      loop_control: {loop_var: number}
      vars:
        service: "{{ services[number] }}"
    - ansible.builtin.copy:
        content: "{{ {'using': __engine_common_using | default({}), 'last': engine_common_device_result,
                      'failures': engine_common_failures | default([])} | to_json }}"
        dest: "{{ out }}"
        mode: "0600"
      check_mode: false
"""
GPUS = [
    {
        "index": index,
        "uuid": f"GPU-{index}",
        "name": "H100",
        "compute_capability": "9.0",
        "pci": f"0000:1{index}:00.0",
        "mig": False,
    }
    for index in range(2)
]


def service(engine: str, name: str, **changes: Any) -> dict[str, Any]:
    known = {**variables.defaults(f"engine_{engine}"), "engine": engine, "title": engine}
    return {**known, "unit": f"{engine}@{name}.service", "serve_gpus": [], "serve_args": [], **changes}


def run(checkout: Path, folder: Path, *services: dict[str, Any], **driver: Any) -> tuple[str, dict[str, Any]]:
    """Return what Ansible prints and what the entry left for the roles."""
    probe = {
        "gpus": [] if driver else GPUS,
        "driver": engine_roles.driver(**driver),
        "nvidia_pci": [{"slot": "0000:10:00.0"}],
        "os": {"arch": "x86_64"},
    }
    given = {"ansible_facts": {"host_probe": probe}, "services": services, "out": str(folder / "out.json")}
    (folder / "play.yml").write_text(PLAY)
    (folder / "given.json").write_text(json.dumps(given))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "ANSIBLE_ROLES_PATH": str(checkout / "roles"),
        "ANSIBLE_LIBRARY": str(checkout / "provisioner/ansible/modules"),
        "ANSIBLE_ACTION_PLUGINS": str(checkout / "provisioner/ansible/action"),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    command = [
        sys.executable,
        "-m",
        "ansible",
        "playbook",
        "-i",
        "host,",
        "-c",
        "local",
        "play.yml",
        "--check",
    ]
    done = subprocess.run(
        [*command, "-v", "-e", "@given.json"],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((folder / "out.json").read_text())
    return done.stdout, found


def test_each_service_gets_its_gpus_and_the_next_one_hears_of_them(checkout: Path, tmp_path: Path) -> None:
    said, found = run(
        checkout,
        tmp_path,
        service("vllm", "a"),
        service("llamacpp", "b", serve_gpus=["GPU-1"]),
        service("ollama", "c"),
    )
    assert found["failures"] == []
    assert {unit: using["gpus"] for unit, using in found["using"].items()} == {
        "vllm@a.service": ["GPU-0"],
        "llamacpp@b.service": ["GPU-1"],
        "ollama@c.service": ["GPU-0", "GPU-1"],
    }
    assert found["last"]["device"] == "cuda"
    assert (
        "ollama@c.service and vllm@a.service both use GPU 0 (vllm@a.service takes 92% of its memory)" in said
    )
    assert "ollama@c.service and llamacpp@b.service both use GPU 1; give" in said


def test_a_failure_is_remembered_where_the_caller_goes_on(checkout: Path, tmp_path: Path) -> None:
    broken = {"problem": "the NVIDIA driver hangs", "next": "boot the host", "version": None}
    _, found = run(
        checkout, tmp_path, service("vllm", "a"), service("ollama", "b", engine_ollama_device="cpu"), **broken
    )
    assert len(found["failures"]) == 1
    assert found["failures"][0].endswith("To run this service on the CPU, set engine_vllm_device: cpu.")
    assert (found["last"]["device"], found["using"]) == ("cpu", {})
