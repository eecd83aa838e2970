# SPDX-License-Identifier: Apache-2.0
"""Write how a host is reached, as Ansible and ssh themselves would reach it; no host is contacted.

Ansible resolves the inventory's connection variables and `ssh -G` the user's ssh configuration. The result is
written to a private file in the folder PROVISION_REACH, because it may contain a password.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

# In a checkout, `ansible` may belong to a Python in which the package is not installed.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from provisioner.fleet import variables

FOLDER = "PROVISION_REACH"
SSH_SECONDS = 10
MOST_JUMPS = 8
# The variables with the locations of models and downloads; no other part of the inventory is passed on.
PLACES = (
    "host_base_proxy",
    "model_store_root",
    "model_store_huggingface_endpoint",
    "model_store_modelscope_endpoint",
    "ansible_python_interpreter",
    "model_store_environment",
    "model_store_ca_bundle",
    "python_env_index_url",
    "python_env_environment",
    "python_env_ca_bundle",
)
# Of an engine's own variables, those with these endings.
ENGINE_PLACES = ("_url", "_registry", "_https_proxy")


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """Resolve one host."""

    TRANSFERS_FILES = False
    _VALID_ARGS: frozenset[str] = frozenset()

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the file of this host, or fail with the reason."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = task_vars or {}
        host = str(given["inventory_hostname"])
        kind = self._connection.transport
        try:
            ssh = self._ssh() if kind == "ssh" else {}
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            return {**result, "failed": True, "msg": str(error)}
        document = {
            "host": host,
            "connection": kind,
            **ssh,
            "variables": self._variables(given),
        }
        path = Path(os.environ[FOLDER]) / hashlib.sha256(host.encode()).hexdigest()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(document, file, default=str)
        return {**result, "changed": False}

    def _ssh(self) -> dict[str, Any]:
        """Return the command with which Ansible itself would connect, and what ssh makes of it."""
        connection, become = self._connection, self._connection.become
        # The password is given by a program of ours, and a key that is in the inventory itself by none.
        for name, value in (("password_mechanism", "ssh_askpass"), ("private_key", None), ("verbosity", 0)):
            connection.set_option(name, value)
        address = str(connection.get_option("host"))
        program = connection.get_option("ssh_executable")
        words = connection._build_command(program, "ssh")  # noqa: SLF001 - nothing else says what Ansible runs
        command = [os.fsdecode(word) for word in words]
        return {
            "ssh": command,
            "address": address,
            "hops": _chain(command[0], address, command[1:]),
            "password": connection.get_option("password"),
            "prompt": connection.get_option("sshpass_prompt") or "assword",
            "become_exe": (become and become.get_option("become_exe")) or "sudo",
            "become_password": become and become.get_option("become_pass"),
        }

    def _variables(self, given: dict[str, Any]) -> dict[str, Any]:
        catalog = variables.load()
        engines = (
            name for name in catalog.variables if name.startswith("engine_") and name.endswith(ENGINE_PLACES)
        )
        wanted = (*catalog.serve_variables, *PLACES, *engines)
        return {name: self._templar.template(given[name]) for name in wanted if name in given}


def _chain(ssh: str, host: str, arguments: list[str], depth: int = 0) -> list[dict[str, list[str]]]:
    """Return the configuration of every jump host and, last, of the host."""
    if depth > MOST_JUMPS:
        raise ValueError(f"more than {MOST_JUMPS} jump hosts before {host}: the ssh configuration has a loop")
    found = _resolve(ssh, host, arguments)
    jumps = [jump for jump in found.get("proxyjump", [""])[0].split(",") if jump and jump != "none"]
    if not jumps:
        return [found]
    # As ssh does it: options of the host do not apply to the jump hosts, except the configuration file.
    before = [argument for pair in _files(arguments) for argument in pair]
    before += ["-J", ",".join(jumps[:-1])] if jumps[1:] else []
    last = jumps[-1] if jumps[-1].startswith("ssh://") else f"ssh://{jumps[-1]}"
    return [*_chain(ssh, last, before, depth + 1), found]


def _files(arguments: list[str]) -> list[tuple[str, str]]:
    apart = [(option, file) for option, file in itertools.pairwise(arguments) if option == "-F"]
    joined = [("-F", one[2:]) for one in arguments if one.startswith("-F") and one != "-F"]
    return apart or joined


def _resolve(ssh: str, host: str, arguments: list[str]) -> dict[str, list[str]]:
    done = subprocess.run(
        [ssh, "-G", *arguments, "--", host],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SSH_SECONDS,
        check=False,
    )
    if done.returncode:
        raise ValueError(f"ssh cannot read its configuration: {done.stderr.strip() or 'no reason given'}")
    found: dict[str, list[str]] = {"original": [host]}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key.lower(), []).append(value)
    return found
