# SPDX-License-Identifier: Apache-2.0
"""Check how hosts are reached, from the connection variables of the inventory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from provisioner.fleet import variables
from provisioner.fleet.findings import Finding

# Ansible's connection variables that people type by hand, to recognise a misspelt one.
_VARIABLES = tuple(
    f"ansible_{name}"
    for name in (
        "host",
        "port",
        "user",
        "password",
        "connection",
        "ssh_private_key_file",
        "ssh_common_args",
        "ssh_extra_args",
        "become",
        "become_user",
        "become_method",
        "become_password",
        "become_exe",
        "python_interpreter",
    )
)
_KIND = "ansible_connection"
_LOCAL = "local"
_SUPPORTED = ("ssh", "smart", _LOCAL)
_SSH_PORT = 22
# The second names are those of old inventories, which Ansible still reads.
_HOSTS = ("ansible_host", "ansible_ssh_host")
_PORTS = ("ansible_port", "ansible_ssh_port")
# Those that are checked, and rendered before.
RENDERED = (*_HOSTS, *_PORTS, _KIND)


def check(given: Mapping[str, Any], *, is_used: bool = True) -> Iterator[Finding]:
    """Find what is wrong with a host's connection variables; any kind may be set where none is used."""
    port, kind = given.get("ansible_port"), given.get(_KIND)
    is_port = 1 <= (_number(port) or 0) <= 65535
    if port is not None and not variables.is_deferred(port) and not is_port:
        yield Finding("ansible_port", "must be a port between 1 and 65535", port, True)
    if is_used and kind is not None and not variables.is_deferred(kind) and not is_supported(given):
        hint = "leave the host out with --limit"
        yield Finding(_KIND, "is not supported: hosts must be reached by ssh, or be local", kind, True, hint)
    for name in given:
        if name.startswith("ansible_") and name not in _VARIABLES:
            near = variables.load().nearest(name, _VARIABLES, 0.9)
            if near and len(near) == len(name):
                yield Finding(
                    name, "is not a variable of Ansible", given[name], True, f"did you mean {near}?"
                )


def is_supported(given: Mapping[str, Any]) -> bool:
    """Return whether this tool can reach a host by its kind of connection."""
    return _kind(given) in _SUPPORTED


def is_local(given: Mapping[str, Any]) -> bool:
    """Return whether a host is the machine on which this tool runs."""
    return _kind(given) == _LOCAL


def _kind(given: Mapping[str, Any]) -> str:
    return str(given.get(_KIND, "ssh")).removeprefix("ansible.builtin.")


def port(given: Mapping[str, Any]) -> int:
    """Return the port of a host's SSH server."""
    number = _number(_first(given, _PORTS, _SSH_PORT))
    return _SSH_PORT if number is None else number


def address(given: Mapping[str, Any], name: str) -> str:
    """Return the address of a host, which is its name unless the inventory has another."""
    return str(_first(given, _HOSTS, name))


def _first(given: Mapping[str, Any], among: Iterable[str], default: object) -> object:
    return next((given[name] for name in among if name in given), default)


def _number(value: object) -> int | None:
    """Return a port as a number, where it is written as one."""
    return int(str(value)) if re.fullmatch(r"[0-9]{1,5}", str(value)) else None
