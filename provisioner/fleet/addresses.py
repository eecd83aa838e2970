# SPDX-License-Identifier: Apache-2.0
"""What a service may listen on: an IP address of its host, or `localhost`."""

from __future__ import annotations

import ipaddress
from typing import Any

LOCALHOST = "localhost"
EVERY_IPV4 = "0.0.0.0"  # noqa: S104 - compared with, never bound
EVERY_IPV6 = "::"
_EVERY = {EVERY_IPV4, EVERY_IPV6}
_LOOPBACK = {"127.0.0.1", "::1"}
_BROADCAST = "255.255.255.255"


def plain(address: Any) -> Any:
    """Return an address without the brackets that a URL puts around one of IPv6."""
    is_wrapped = isinstance(address, str) and address.startswith("[") and address.endswith("]")
    return address[1:-1] if is_wrapped else address


def mistake(address: str) -> tuple[str, str] | None:
    """Return why no service can listen on an address, with a hint, or None."""
    if _is_valid(address):
        return None
    if meant := _meant(address):
        return "must be an IP address or localhost, and nothing else", (
            f"did you mean {meant}? the port is set by serve_port"
        )
    return "must be an IP address of the host or localhost, because engines do not look up names", (
        f"such as {EVERY_IPV4} for every IPv4 address with serve_expose: everything, or the address that "
        "`ip address` shows on the host"
    )


def is_loopback(address: str) -> bool:
    """Return whether only programs of the host itself can reach a service at this address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == LOCALHOST


def overlap(first: str, second: str) -> bool:
    """Return whether two services with these addresses cannot have the same port."""
    both = {_canonical(first), _canonical(second)}
    return len(both) == 1 or bool(both & _EVERY) or (LOCALHOST in both and bool(both & _LOOPBACK))


def _is_valid(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address == LOCALHOST
    # The zone of a link-local address is the name of an interface, which engines do not support.
    return not found.is_multicast and address != _BROADCAST and "%" not in address


def _meant(address: str) -> str | None:
    """Return the address in a URL, a network or an address with a port, or what else stands for one."""
    if address == "*":
        return EVERY_IPV4
    host = address.strip().lower().rpartition("://")[2].partition("/")[0]
    among = map(plain, (host, host.rpartition(":")[0]))
    return next((one for one in among if _is_valid(one)), None)


def _canonical(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address
