# SPDX-License-Identifier: Apache-2.0
"""Open a URL through proxies without showing what is secret in it, and explain failures."""

from __future__ import annotations

import base64
import re
import socket
import ssl
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException, responses
from time import time
from typing import Any
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit

from ..host import proxy
from ..host.fault import Fault

# Neither files nor FTP: a redirection must not lead there.
HANDLERS = (
    request.ProxyHandler,
    request.HTTPHandler,
    request.HTTPSHandler,
    request.HTTPRedirectHandler,
    request.HTTPDefaultErrorHandler,
    request.HTTPErrorProcessor,
    request.UnknownHandler,
)
PASSING = (408, 425, 429)
REMEDIES = {
    403: "check that this host and the user in the URL may fetch it",
    404: "check the version and the URL: there is no such file",
    407: "put the right user and password into the proxy's URL, in host_base_proxy or {environment}",
    410: "check the version and the URL: the file has been withdrawn",
}
REFUSED = "allow the address on the proxy, or list its host in no_proxy of host_base_proxy"
TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")


@dataclass(frozen=True)
class Variables:
    """The inventory variables with which a failed download can be fixed."""

    url: str = "release_archive_url"
    ca_bundle: str = "release_archive_ca_bundle"
    environment: str = "release_archive_environment"
    login: str = "put user and password into the URL, as in https://user:password@host/…"


ARCHIVE = Variables()


class Passing(Fault):
    """A failure that may not happen again; `retry_after` is the wait that the server requested."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message, "apply again: what has arrived is kept")
        self.retry_after = retry_after


class Source:
    """A URL without its credentials; as text it shows nothing that may be secret."""

    def __init__(
        self, url: str, variables: Variables = ARCHIVE, login: tuple[str, str] | None = None
    ) -> None:
        self.variables = variables
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
            host.encode("idna")
        except ValueError:  # of which UnicodeError is one
            parts, host, port = urlsplit(""), "", None
        if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f]", url):
            raise Fault(
                f"{variables.url} is not the URL of a file on a web server",
                "write it as https://host/path; it is not shown here because it may hold a password",
            )
        place = f"[{host}]" if ":" in host else host
        place += f":{port}" if port else ""
        self.path, self.host = parts.path, host
        self._address = urlunsplit((parts.scheme, place, parts.path, parts.query, ""))
        self._shown = urlunsplit((parts.scheme, place, parts.path, "", "")) + ("?…" if parts.query else "")
        self._credentials = ""
        if parts.username is not None:
            login = (unquote(parts.username), unquote(parts.password or ""))
        if login:
            pair = ":".join(login)
            self._credentials = "Basic " + base64.b64encode(pair.encode()).decode()

    def __str__(self) -> str:
        return self._shown

    @property
    def through(self) -> str:
        """Return the host of the proxy through which a request goes, empty where it goes to the server."""
        parts = urlsplit(self._address)
        way = request.getproxies().get(parts.scheme, "")
        found = proxy.parts(way) if way and not request.proxy_bypass(parts.hostname or "") else None
        return found.host if found else ""

    def open(self, headers: dict[str, str], seconds: float) -> Any:
        """Return the answer to a request for the file; 416 counts as one."""
        asked = request.Request(  # noqa: S310 - the constructor has checked the scheme
            self._address, headers={"Accept-Encoding": "identity", "User-Agent": "provision", **headers}
        )
        if self._credentials:
            # Not for the host of a redirection.
            asked.add_unredirected_header("Authorization", self._credentials)
        for scheme, way in request.getproxies().items():
            if scheme in ("http", "https") and re.match(r"(?!https?://)\w+://", way):
                raise Fault(
                    f"{scheme}_proxy does not point to an HTTP proxy",
                    f"set {scheme}_proxy in {self.variables.environment} to a URL such as http://host:port",
                )
        opener = request.OpenerDirector()
        for handler in HANDLERS:
            opener.add_handler(handler())
        try:
            return opener.open(asked, timeout=seconds)
        except HTTPError as error:
            if error.code == 416:
                return error
            with error:
                raise status_fault(error.code, error.headers, self) from error
        except (OSError, HTTPException) as error:
            raise network_fault(error, self, seconds) from error


def status_fault(status: int, headers: Any, source: Source) -> Passing | Fault:
    """Return the failure that an HTTP status means; the server's text is not shown."""
    named = f"HTTP {status} {responses.get(status, '')}".strip()
    if status in PASSING or status >= 500:
        return Passing(named, seconds_of((headers or {}).get("Retry-After") or ""))
    remedies = {**REMEDIES, 401: source.variables.login}
    step = remedies.get(status, "check the URL and the server behind it")
    return Fault(
        f"{source} cannot be fetched: {named}",
        step.replace("{environment}", source.variables.environment),
    )


def network_fault(error: BaseException, source: Source, seconds: float) -> Passing | Fault:
    """Return the failure that an exception means."""
    cause = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Fault(
            f"the certificate of {source} cannot be trusted: {cause.verify_message}",
            f"set {source.variables.ca_bundle} to a file on the host that contains the certificate authority "
            "of the server or proxy, and check the host's clock",
        )
    if isinstance(cause, socket.timeout):
        return Passing(f"no data for {seconds:.0f} s")
    if isinstance(cause, socket.gaierror):
        name = f"the proxy's name {source.through}" if source.through else f"the name {source.host}"
        return Passing(f"{name} cannot be resolved ({cause.strerror})")
    tunnel = TUNNEL.search(str(cause))
    if tunnel:
        return _refused_by_proxy(int(tunnel.group(1)), source)
    if isinstance(cause, OSError):
        return Passing(f"{source.through and 'the proxy: '}{cause.strerror or type(cause).__name__}")
    return Passing(f"the answer was cut off ({type(cause).__name__})")


def _refused_by_proxy(status: int, source: Source) -> Passing | Fault:
    """Return the failure of a proxy that opens no connection to a server."""
    named = f"HTTP {status} {responses.get(status, '')}".strip()
    if status in PASSING or status >= 500:
        return Passing(f"the proxy answered {named}")
    text = f"{source} cannot be fetched: the proxy refused with {named}"
    return Fault(text, REMEDIES[407] if status in (401, 407) else REFUSED)


def seconds_of(value: str) -> float:
    """Return the wait that a Retry-After header asks for, as seconds or as a date."""
    if re.fullmatch(r"[0-9]+", value or ""):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (TypeError, ValueError, OverflowError):
        return 0.0
