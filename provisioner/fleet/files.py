# SPDX-License-Identifier: Apache-2.0
"""Check the files to which variables refer: on this machine their content, on hosts only the path."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from provisioner.fleet import models, variables
from provisioner.fleet.findings import Finding
from provisioner.fleet.services import Service

_HINT = "write the secret into it, mode 0600"
# What an engine takes as a key, and a client can send.
_KEY = re.compile(rb"[\x21-\x7e]+")
# Paths on hosts, besides the bundles of certificates.
_ON_HOSTS = ("model_store_root", "cuda_toolkit_tmpdir")
_ENCRYPTED = b"$ANSIBLE_VAULT"
UNLOCK_HINT = "give the password of the vault with --ask-vault-pass or --vault-password-file"


class LockedError(Exception):
    """Report why an encrypted file cannot be read."""


Unlock = Callable[[Path], bytes]


def key(service: Service, folder: Path, unlock: Unlock | None) -> Iterator[Finding]:
    """Find what is wrong with the API key of a service."""
    name = "serve_api_key_file"
    given = service.settings.get(name)
    if not given or variables.is_deferred(given):
        return
    if reason := _unreadable(folder, str(given)):
        yield Finding(name, reason, given, True, _HINT, service.item)
        return
    try:
        content = _content(folder / Path(str(given)).expanduser(), unlock)
    except LockedError as error:
        yield Finding(name, str(error), given, True, UNLOCK_HINT, service.item)
        return
    separator = service.engine.key_separator
    if content is not None and (reason := _not_a_key(content)):
        hint = "write one line of printable ASCII characters into it"
        yield Finding(name, reason, given, True, hint, service.item)
    elif content and separator and separator.encode() in content:
        reason = f"contains {separator!r}, at which {service.engine.title} divides it into several keys"
        yield Finding(name, reason, given, True, f"write a key without {separator!r} into it", service.item)


def _content(path: Path, unlock: Unlock | None) -> bytes | None:
    """Return what is in a file, decrypted, or None if that is not possible here; raises LockedError."""
    content = path.read_bytes()
    if not content.startswith(_ENCRYPTED):
        return content
    return unlock(path) if unlock else None


def _locked(name: str, path: Path, unlock: Unlock | None) -> Iterator[Finding]:
    """Find a file that cannot be decrypted here."""
    try:
        _content(path, unlock)
    except LockedError as error:
        yield Finding(name, str(error), str(path), True, UNLOCK_HINT)


def _not_a_key(content: bytes) -> str | None:
    """Return why a file contains no API key, or None; the key itself is not shown."""
    found = content.rstrip()
    if _KEY.fullmatch(found):
        return None
    return (
        "contains a space, a line break or a non-ASCII character" if found else "is empty, so it has no key"
    )


def paths(given: Mapping[str, Any], unlock: Unlock | None = None) -> Iterator[Finding]:
    """Find the host's variables that refer to files which cannot be there."""
    for name, value in given.items():
        if not value or variables.is_deferred(value):
            continue
        if name in _ON_HOSTS or name.endswith(("_ca_bundle", "_conda_prefix")):
            if not str(value).startswith("/"):
                yield Finding(name, "must be an absolute path on the host", value, True)
        elif name.endswith(("_token_file", "_netrc_file")):
            wrong = list(_controller_file(name, str(value), _HINT))
            yield from wrong or _locked(name, Path(str(value)).expanduser(), unlock)
        elif name.endswith(("_repository_key_file", "_requirements")):
            yield from _controller_file(name, str(value))
        elif name == "host_base_ca_certificates":
            for each in models.texts(value):
                yield from _controller_file(name, each)


def _controller_file(name: str, value: str, hint: str = "") -> Iterator[Finding]:
    """Check one file on this machine."""
    if not value.startswith(("/", "~")):
        yield Finding(name, "must be an absolute path on this machine", value, True)
    elif reason := _unreadable(Path("/"), value):
        yield Finding(name, reason, value, True, hint)


def _unreadable(folder: Path, name: str) -> str | None:
    """Return why a file on this machine cannot be read, or None; a relative path starts at `folder`."""
    try:
        path = folder / Path(name).expanduser()
        # In newer versions of Python, Path.is_file() hides why it failed.
        if not stat.S_ISREG(path.stat().st_mode):
            return "there is no such file on this machine"
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return "there is no such file on this machine"
    except (OSError, RuntimeError) as error:  # no such user, a name that is too long, a folder without access
        return f"cannot be searched for on this machine: {getattr(error, 'strerror', None) or error}"
    return None if os.access(path, os.R_OK) else "is not readable for you on this machine"
