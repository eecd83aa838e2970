# SPDX-License-Identifier: Apache-2.0
"""Check SSH host keys against known_hosts files as OpenSSH does: learn at first contact, refuse a change."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeys

REVOKED = "@revoked"
_RSA = ("rsa-sha2-512", "rsa-sha2-256")


class KeyRefused(paramiko.SSHException):
    """A refused host key; the message is worded like ssh's own, with the line of the known key."""


@dataclass(frozen=True)
class KnownKey:
    """One line of a known_hosts file."""

    marker: str
    names: str
    kind: str
    key: str
    file: Path
    line: int

    def is_of(self, name: str) -> bool:
        """Return whether the line is about this host; names may be hashed, patterns, or excluded by `!`."""
        if self.names.startswith("|1|"):
            return HostKeys.hash_host(name, self.names) == self.names
        patterns = self.names.split(",")
        if any(_fits(name, pattern[1:]) for pattern in patterns if pattern.startswith("!")):
            return False
        return any(_fits(name, pattern) for pattern in patterns)


def _fits(name: str, pattern: str) -> bool:
    # Brackets belong to `[host]:port`; fnmatch would take them for a set of characters.
    return fnmatchcase(name.lower(), pattern.lower().replace("[", "[[]"))


def name_of(host: str, port: int) -> str:
    """Return the name of a host in known_hosts files."""
    return host if port == paramiko.config.SSH_PORT else f"[{host}]:{port}"


class HostKeyPolicy(paramiko.MissingHostKeyPolicy):
    """Check the key that a host presents; paramiko has no known keys, so it asks this policy about each."""

    def __init__(
        self, name: str, files: Sequence[Path], further: Sequence[Path] = (), *, learn: bool
    ) -> None:
        self._name = name
        self._files = tuple(files)
        self._further = tuple(further)
        self._learn = learn

    def missing_host_key(
        self,
        client: paramiko.SSHClient,  # noqa: ARG002 - paramiko hands it over
        hostname: str,  # noqa: ARG002 - without the alias that the configuration may set
        key: paramiko.PKey,
    ) -> None:
        """Return if the key is accepted; raises KeyRefused."""
        known = list(self._known())
        shown = (key.get_name(), key.get_base64())
        if any((one.kind, one.key) == shown for one in known if one.marker == REVOKED):
            raise KeyRefused(f"Host key for {self._name} is revoked. Host key verification failed.")
        plain = [one for one in known if not one.marker]
        if any((one.kind, one.key) == shown for one in plain):
            return
        if plain:
            old = next((one for one in plain if one.kind == key.get_name()), plain[0])
            raise KeyRefused(
                f"Offending {old.kind} key in {old.file}:{old.line}\nHost key for {self._name} has changed"
            )
        if not self._learn:
            raise KeyRefused(f"No {key.get_name()} host key is known for {self._name}")
        _append(self._files[0], f"{self._name} {key.get_name()} {key.get_base64()}\n")

    def prefer_known(self, transport: paramiko.Transport) -> None:
        """Request a key of a kind that is known already, so that a second kind is not taken for a change."""
        options = transport.get_security_options()
        kinds = {
            kind
            for one in self._known()
            for kind in ((*_RSA, one.kind) if "rsa" in one.kind else (one.kind,))
        }
        options.key_types = tuple(sorted(options.key_types, key=lambda kind: kind not in kinds))

    def _known(self) -> Iterator[KnownKey]:
        for file in (*self._files, *self._further):
            yield from (one for one in read(file) if one.is_of(self._name))


def read(file: Path) -> Iterator[KnownKey]:
    """Yield the lines of a known_hosts file that contain a key; nothing when it is missing."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return
    for number, text in enumerate(lines, start=1):
        fields = text.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) >= 3 and not fields[0].startswith("#"):
            yield KnownKey(marker, fields[0], fields[1], fields[2], file, number)


def _append(file: Path, line: str) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b") as handle:
        # This process, and perhaps another one, connects to several hosts at once.
        fcntl.flock(handle, fcntl.LOCK_EX)
        size = handle.seek(0, os.SEEK_END)
        torn = size > 0 and (handle.seek(size - 1), handle.read(1))[1] != b"\n"
        handle.write((b"\n" if torn else b"") + line.encode())
