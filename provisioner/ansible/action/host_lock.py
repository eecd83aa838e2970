# SPDX-License-Identifier: Apache-2.0
"""Take a host's lock, and hold it for as long as this Ansible lives."""

from __future__ import annotations

import getpass
import os
import socket
import sys
import uuid
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

# In a checkout, `ansible-playbook` may belong to a Python in which the package is not installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from provisioner.ansible import lifeline

UNHELD = (
    "the host's lock is not held, because Ansible did not load the callback provision_events: "
    "another run may start after a minute"
)


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """Run the module of the same name, then start the heartbeat."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({"what"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module returns."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        run = os.environ.get(lifeline.RUN) or uuid.uuid4().hex[:12]
        arguments = {
            "run": run,
            "by": f"{_user()} on {socket.gethostname()}",
            "what": self._task.args["what"],
        }
        answer = self._execute_module(module_name="host_lock", module_args=arguments, task_vars=task_vars)
        result.update(answer)
        heartbeat = result.pop("heartbeat", [])
        if heartbeat and not self._hold(heartbeat):
            shown = result.setdefault("provision", {})
            shown["warning"] = [*shown.get("warning", ()), UNHELD]
        return result

    def _hold(self, command: list[str]) -> bool:
        if self._connection.transport != "ssh":
            return lifeline.start(command)
        shell = " ".join(self._connection._shell.quote(word) for word in command)  # noqa: SLF001
        host, program = (self._connection.get_option(name) for name in ("host", "ssh_executable"))
        argv = self._connection._build_command(program, "ssh", host, f"exec {shell}")  # noqa: SLF001
        # Over the connection that the module has just used; without one, a key has to be enough.
        start = argv.index(os.fsencode(program))
        return lifeline.start([argv[start], b"-oBatchMode=yes", *argv[start + 1 :]])


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
