# SPDX-License-Identifier: Apache-2.0
"""The scripts that need no Python reach sh through any login shell, as Ansible renders them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = "printf '%s|' it\\'s 'a\\nb'\nif ! false; then echo \"done!\"; fi\ncat"
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars_files: [{variables}]
  tasks:
    - ansible.builtin.copy: {{content: "{{{{ __host_base_in_sh }}}}", dest: {made}}}
      vars: {{__host_base_script: {script}}}
"""


def test_a_script_is_one_line_that_csh_and_fish_read_as_sh_does(tmp_path: Path, checkout: Path) -> None:
    play, made = tmp_path / "play.yml", tmp_path / "made"
    variables = checkout / "roles/host_base/vars/main.yml"
    play.write_text(PLAY.format(variables=variables, made=made, script=json.dumps(SCRIPT)))
    argv = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", str(play)]
    argv += ["-e", f"ansible_python_interpreter={sys.executable}"]
    subprocess.run(argv, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    line = made.read_text()
    assert not set(line) & set("!\n")
    # Of backslashes, fish reads two in a row, and one before a quote.
    assert "\\\\" not in line
    assert "\\'" not in line
    done = subprocess.run(["/bin/sh", "-c", line], input="data", capture_output=True, text=True, check=True)
    assert done.stdout == "it's|a\\nb|done!\ndata"
