# SPDX-License-Identifier: Apache-2.0
"""Describe a host's way out through a proxy: check the inventory's variable, and make an environment of it.

It is in one file that only root can read. Modules add it to their own, and jobs get it from systemd.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping, MutableMapping, NamedTuple, Tuple
from urllib.parse import unquote

FILE = Path("/etc/provision/proxy.env")
HEAD = "# Written by provision from host_base_proxy.\n"
SCHEMES = ("http", "https")
KEYS = (*SCHEMES, "no_proxy")
# Never reached through a proxy, whatever the inventory contains.
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:(?P<login>.*)@)?(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)"
    r"(?::(?P<port>[0-9]+))?(?P<path>[/?#].*)?",
    re.IGNORECASE,
)
# What a URL may contain unencoded and neither systemd, a shell nor a client reads as something else.
_LOGIN = re.compile(r"[A-Za-z0-9._~!*()+,;=%-]*(:[A-Za-z0-9._~!*()+,;=%-]*)?")
_NAME = re.compile(r"\.?[A-Za-z0-9_][A-Za-z0-9._-]*|[0-9A-Fa-f:.]+(/[0-9]+)?")
_ASSIGNMENT = re.compile(r"^([A-Za-z_]+)='([^']*)'$", re.MULTILINE)
ENCODE = "write it percent-encoded, as in {{ password | urlencode | replace('/', '%2F') }}"
Mistake = Tuple[str, str]


class Parts(NamedTuple):
    """Hold the parts of a proxy's URL; `address` is without user and password, which are decoded."""

    address: str
    host: str
    port: int
    user: str = ""
    password: str = ""


def mistakes(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find what is wrong with the variable: each reason with a hint, both without a password."""
    for key in given:
        if key not in KEYS:
            yield f"contains the unknown key {key}", _meant(str(key))
    if not any(given.get(scheme) for scheme in SCHEMES):
        yield "sets no proxy", "set http, https or both; one of them alone is used for both"
    for scheme in SCHEMES:
        if given.get(scheme):
            yield from _of_url(scheme, given[scheme])
    for name in names(given.get("no_proxy")):
        if not _NAME.fullmatch(name):
            hint = "list hosts, domains such as .example.com and addresses, without scheme, port or *"
            yield f"has {name!r} in no_proxy, which is not the name or address of a host", hint


def _of_url(scheme: str, value: object) -> Iterator[Mistake]:
    found = _URL.fullmatch(str(value).strip())
    example = "write it as http://proxy.example.com:3128"
    if not found:
        yield f"has no URL of a proxy as {scheme}", example
    elif found["scheme"].lower() == "https":
        hint = "clients speak HTTP with a proxy, and open encrypted connections through it: write http://"
        yield f"has an https:// URL as {scheme}", hint
    elif found["scheme"].lower() != "http":
        yield f"has a URL as {scheme} that is not an HTTP proxy's", example
    elif not found["port"] or not 0 < int(found["port"]) < 65536:
        yield f"has a URL without a valid port as {scheme}", f"{example}; clients assume different ports"
    elif found["path"] not in (None, "/"):
        yield f"has a URL with a path as {scheme}", example
    elif not _LOGIN.fullmatch(found["login"] or ""):
        yield f"has a character in the user or password of {scheme} that means something else", ENCODE


def _meant(key: str) -> str:
    stem = key.lower()[: -len("_proxy")] if key.lower().endswith("_proxy") else key.lower()
    near = [stem] if stem in KEYS else difflib.get_close_matches(key.lower(), KEYS, n=1)
    return f"did you mean {near[0]}?" if near else f"the keys are {', '.join(KEYS)}"


def names(value: object) -> list[str]:
    """Return the names in a list, or in a text with commas."""
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    return [str(item).strip() for item in items if str(item).strip()]


def parts(url: str) -> Parts | None:
    """Return the parts of a proxy's URL, None where it is not one."""
    found = _URL.fullmatch(url.strip())
    if not found or not found["port"]:
        return None
    user, _, password = (found["login"] or "").partition(":")
    address = f"http://{found['host']}:{found['port']}"
    return Parts(address, found["host"].strip("[]"), int(found["port"]), unquote(user), unquote(password))


def has_login(given: Mapping[str, Any]) -> bool:
    """Return whether a proxy's URL contains a user or a password."""
    return any("@" in str(given.get(scheme) or "") for scheme in SCHEMES)


def proxies(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the proxy for each scheme; one alone is used for both."""
    first = next((str(given[scheme]) for scheme in SCHEMES if given.get(scheme)), "")
    urls = {scheme: str(given.get(scheme) or first).strip().rstrip("/") for scheme in SCHEMES}
    return urls if first else {}


def around(given: Mapping[str, Any], direct: Iterable[str]) -> list[str]:
    """Return every name and address that is reached without the proxy, each once."""
    wanted = (name for name in direct if _NAME.fullmatch(name))
    return list(dict.fromkeys([*LOOPBACK, *wanted, *names(given.get("no_proxy"))]))


def environment(given: Mapping[str, Any], direct: Iterable[str] = ()) -> dict[str, str]:
    """Return the environment variables of a proxy, none where the inventory sets no proxy."""
    urls = proxies(given)
    own = {f"{scheme}_proxy": url for scheme, url in urls.items()}
    return spelt({**own, "no_proxy": ",".join(around(given, direct))}) if urls else {}


def spelt(variables: Mapping[str, str]) -> dict[str, str]:
    """Return variables with those of proxies in small and in capital letters: clients differ."""
    found = dict(variables)
    for name, value in variables.items():
        if name.lower().endswith("_proxy"):
            found = {**found, name.lower(): value, name.upper(): value}
    return found


def text(variables: Mapping[str, str]) -> str:
    """Return the file of an environment, which systemd and a shell read alike."""
    return HEAD + "".join(f"{name}='{value}'\n" for name, value in sorted(variables.items()))


def read(path: Path | None = None) -> dict[str, str]:
    """Return the host's proxy variables, none where there is no file."""
    try:
        return dict(_ASSIGNMENT.findall((path or FILE).read_text(encoding="utf-8")))
    except OSError:
        return {}


def adopt(own: MutableMapping[str, str] = os.environ, more: Mapping[str, str] | None = None) -> None:
    """Add the host's proxy to an environment, and over it `more`, which a role's own variable contains."""
    own.update({**read(), **spelt(more or {})})
