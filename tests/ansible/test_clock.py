# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import pytest

from tests.contract import tree


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/New_York"])
def test_hosts_are_told_the_time_wherever_the_controller_is(zone: str) -> None:
    texts = [path.read_text(encoding="utf-8") for role in tree.ROLES for path in role.rglob("tasks/*.yml")]
    found = {clock for text in texts for clock in re.findall(r"controller_clock: \"\{\{ (.+) \}\}\"", text)}
    assert found
    for clock in found:
        argv = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", "ansible.builtin.debug"]
        done = subprocess.run(
            [*argv, "-a", f"msg=the-time-is-{{{{ {clock} | int }}}}"],
            env={**os.environ, "TZ": zone, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        said = re.search(r"the-time-is-([0-9]+)", done.stdout)
        assert said
        assert abs(int(said[1]) - time.time()) < 60
