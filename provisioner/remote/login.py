# SPDX-License-Identifier: Apache-2.0
"""Log in with the keys, the agent and the password that Ansible would use."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.auth_strategy import AuthSource, AuthStrategy, InMemoryPrivateKey, Password
from paramiko.pkey import UnknownKeyType
from paramiko.ssh_exception import AuthenticationException, PasswordRequiredException

from provisioner.remote.reach import Hop
from provisioner.runs import failures


def advice(hop: Hop, before: Sequence[Hop]) -> str:
    """Return the next step after a refused login, with the command that puts a key on that machine."""
    words = ["ssh-copy-id"]
    public = next((path for key in hop.keys if (path := Path(f"{key}.pub")).is_file()), None)
    words += ["-i", str(public)] if public else []
    words += ["-p", str(hop.port)] if hop.port != paramiko.config.SSH_PORT else []
    if before:
        words += ["-o", "ProxyJump=" + ",".join(map(_address, before))]
    elif hop.proxy_command:
        words += ["-o", f"ProxyCommand={hop.proxy_command}"]
    command = shlex.join([*words, f"{hop.user}@{hop.host}"])
    return f"{failures.CHECK_LOGIN}, or put a key there once: {command}"


def _address(hop: Hop) -> str:
    host = f"[{hop.host}]" if ":" in hop.host else hop.host
    return f"{hop.user}@{host}:{hop.port}"


class Login(AuthStrategy):
    """Try every key that can be read, then the agent's, then the password."""

    def __init__(self, user: str, keys: Sequence[Path], *, use_agent: bool, password: str | None) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._user = user
        self._keys = tuple(keys)
        self._use_agent = use_agent
        self._password = password
        self._locked: list[Path] = []

    def get_sources(self) -> Iterator[AuthSource]:
        """Yield what to try, in ssh's order."""
        for path in self._keys:
            key = self._read(path)
            if key is not None:
                yield InMemoryPrivateKey(self._user, key)
        if self._use_agent:
            agent = paramiko.Agent()
            try:
                yield from (InMemoryPrivateKey(self._user, key) for key in agent.get_keys())
            finally:
                agent.close()
        password = self._password
        if password is not None:
            yield Password(self._user, lambda: password)

    def authenticate(self, transport: paramiko.Transport) -> Any:
        """Log in; raises PasswordRequiredException when only a key with a passphrase is left to try."""
        try:
            return super().authenticate(transport)
        except AuthenticationException as error:
            if self._locked:
                raise PasswordRequiredException(str(self._locked[0])) from error
            raise

    def _read(self, path: Path) -> paramiko.PKey | None:
        try:
            return paramiko.PKey.from_path(path)
        except TypeError:
            # This is how the library reports that the key has a passphrase.
            self._locked.append(path)
        except (OSError, ValueError, UnsupportedAlgorithm, UnknownKeyType, paramiko.SSHException):
            # Missing, or of a kind that only ssh supports.
            return None
        return None
