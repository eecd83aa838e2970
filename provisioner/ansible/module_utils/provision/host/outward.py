# SPDX-License-Identifier: Apache-2.0
"""Explain what keeps a host from reaching the outside, by what any client said: its proxy, or a name."""

from __future__ import annotations

import os
import re
from typing import Mapping, NamedTuple

from ..host.proxy import Parts, parts

LOGIN = re.compile(
    r"Proxy Authentication Required|proxy authorization required|Status code: 407\b|HTTP 407\b|\b407 [Pp]roxy"
    r"|(?:CONNECT|[Tt]unnel|proxy)[^\n]{0,60}\b40[17]\b"
)
DENIED = re.compile(
    r"(?:CONNECT tunnel failed, response|Tunnel connection failed:|the proxy refused with HTTP) 4\d\d"
    r"|HTTP code 4\d\d from proxy"
)
# A client that reports whose name it could not resolve, and one that does not.
NAMED = re.compile(
    r"(?:[Cc]ould not|[Cc]ouldn't) resolve (?:host(?:name)?|proxy)?:? ?'?([\w.-]+\.[\w.-]+)"
    r"|failure resolving '([\w.-]+)'|wicked happened resolving '([\w.-]+)|lookup ([\w.-]+)(?: on [^ ]+)?:"
    r"|name ([\w.-]+) cannot be resolved|host='([\w.-]+)'[^\n]*(?:name resolution|Name or service not known)"
)
UNNAMED = re.compile(
    r"[Nn]ame or service not known|failure in name resolution|cannot be resolved|No address associated"
    r"|failed to lookup address|no such host|resolve (?:proxy|host)"
)
CLOSED = re.compile(
    r"Connection refused|connect(?:ion)? timed out|(?:Unable|Failed) to connect|(?:Could not|Cannot) connect"
    r"|No route to host|Network is unreachable"
)


class Trouble(NamedTuple):
    """Hold what is wrong and what to do about it; what is `final` does not pass by itself."""

    says: str
    step: str
    final: bool = False


# What two clients say of a server that others accept; findings/ shows both.
CERTIFICATES = {
    "CaUsedAsEndEntity": Trouble(
        "the server's certificate signs itself, and uv accepts none that may sign others",
        "give the server a certificate that an authority has signed, and list the authority in "
        "host_base_ca_certificates",
        final=True,
    ),
    "check_hostname requires server_hostname": Trouble(
        "pip accepts a server with TLS by its name only, not by its address",
        "give the index a name, in the DNS or in /etc/hosts, and use it in python_env_index_url",
        final=True,
    ),
}


def trouble(said: str, environment: Mapping[str, str] | None = None) -> Trouble | None:
    """Return what keeps the host from the outside, None where the output shows nothing of that kind."""
    given = os.environ if environment is None else environment
    through = parts(given.get("https_proxy") or given.get("http_proxy") or "")
    # Some proxies answer 401 to a wrong password, as only a server should.
    if LOGIN.search(said) or (through and re.search(r"(?<!\d)401(?!\d)", said)):
        return Trouble(
            "the proxy refused the host: it requires a user and a password, or others",
            "correct user and password in host_base_proxy",
            final=True,
        )
    if DENIED.search(said) or (through and re.search(r"(?<!\d)403(?!\d)", said)):
        return Trouble(
            "the proxy refused the address, or the server behind it did (HTTP 403)",
            "allow the address on the proxy, or list its host in no_proxy of host_base_proxy",
            final=True,
        )
    # uv hides the status of the proxy's answer.
    if "tunnel error: unsuccessful" in said:
        return Trouble(
            "the proxy opened no connection to the address",
            "check user and password in host_base_proxy, and that the proxy allows and reaches the address",
        )
    if NAMED.search(said) or UNNAMED.search(said):
        return _unresolved(said, through)
    # A client that mentions no address may have asked one that is reached without the proxy.
    if through and CLOSED.search(said) and ("proxy" in said or through.host in said):
        return Trouble(
            f"the proxy {through.host}:{through.port} does not answer",
            "check host and port in host_base_proxy, and that the proxy accepts this host",
        )
    return next((found for sign, found in CERTIFICATES.items() if sign in said), None)


def _unresolved(said: str, through: Parts | None) -> Trouble:
    """Return what a name that does not resolve means: the proxy's own, or one that is reached without it."""
    found = NAMED.search(said)
    name = next(filter(None, found.groups()), "") if found else ""
    if through and name in ("", through.host):
        # The proxy resolves all others itself.
        others = "" if name or "proxy" in said else ", or a name in no_proxy"
        return Trouble(
            f"the host cannot resolve the name of the proxy, {through.host}{others}",
            "use the proxy's address in host_base_proxy, or fix /etc/resolv.conf on the host",
        )
    what = f"the name {name}" if name else "a name outside"
    step = "fix /etc/resolv.conf on the host; if it goes out through a proxy, set host_base_proxy"
    if through:
        step = f"take {name or 'it'} out of no_proxy in host_base_proxy, or fix /etc/resolv.conf on the host"
    return Trouble(f"the host cannot resolve {what}", step)
