# SPDX-License-Identifier: Apache-2.0
"""Write the environment of a proxy to a host that has no Python yet, for the installation of Python.

The content travels as a file, never in a command line, where a password would be in the list of processes.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

# In a checkout, `ansible-playbook` may belong to a Python in which the package is not installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from provisioner.ansible.module_utils.provision.host import proxy

STEPS = "umask 077 && mkdir -p {folder} && chmod 755 {folder} && cat {source} > {path}"


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """Check the proxy, and write the file for root alone."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(("path", "proxy", "direct"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return whether the file was written, or fail with what is wrong with the proxy."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given, direct = self._task.args["proxy"], self._task.args["direct"]
        wrong = next(proxy.mistakes(given), None)
        if wrong:
            return {**result, "failed": True, "msg": f"host_base_proxy {wrong[0]}; {wrong[1]}"}
        # Ansible removes it once the task has ended.
        folder = self._make_tmp_path()
        source, path = f"{folder}/proxy.env", str(self._task.args["path"])
        self._transfer_data(source, proxy.text(proxy.environment(given, direct)))
        self._fixup_perms2((folder, source), execute=False)
        places = {"source": source, "path": path, "folder": str(Path(path).parent)}
        quoted = {name: shlex.quote(place) for name, place in places.items()}
        done = self._low_level_execute_command(STEPS.format(**quoted))
        if done["rc"]:
            said = str(done["stderr"] or done["stdout"]).strip()
            return {**result, "failed": True, "msg": f"the proxy's file cannot be written: {said}"}
        return {**result, "changed": True}
