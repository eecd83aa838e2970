# SPDX-License-Identifier: Apache-2.0
"""Check the variables of a host that uses conda's Python: terms, pins, no passwords in URLs."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from provisioner import content, documents
from provisioner.fleet import variables
from provisioner.fleet.findings import Finding, of_variable

PREFIX = "python_env_conda_"
_TERMS = f"{PREFIX}accept_terms"
# Channels of Anaconda; conda-forge and others have no such terms.
_ANACONDA = re.compile(r"(defaults|anaconda|main|r|msys2)|(https?://)?repo\.anaconda\.com\b.*")
_EXACT = re.compile(r"3\.\d+\.\d+")
_PINNED = re.compile(r"[A-Za-z0-9_.-]+=[^\s=<>!*|,]+(=[^\s=<>!*|,]+)?")
_PASSWORD = re.compile(r"://[^/\s]*@|/t/[^/\s]")
_ADDRESSES = ("url", "channel_alias", "channels", "custom_channels", "default_channels")


@functools.cache
def installers() -> Mapping[str, Mapping[str, Any]]:
    """Return the known installers: their versions, hashes and where they are published."""
    document: Mapping[str, Mapping[str, Any]] = documents.read(content.roles() / "python_env/files/conda.yml")
    return document


def check(given: Mapping[str, Any]) -> Iterator[Finding]:
    """Find what is wrong with the conda variables of a host that uses it, as far as they are known."""
    provider = given.get("python_env_provider")
    if not isinstance(provider, str) or provider not in installers():
        return
    plain = {name: value for name, value in given.items() if value and not variables.is_deferred(value)}
    if plain.get("python_env_python"):
        yield of_variable(
            plain,
            "python_env_python",
            "selects a Python of the distribution, but this host uses conda's Python",
            f"set the exact version in {PREFIX}python",
        )
    yield from _terms(provider, given, plain)
    yield from _hash(provider, given, plain)
    yield from _pins(plain)
    yield from _passwords(given)


def _terms(provider: str, given: Mapping[str, Any], plain: Mapping[str, Any]) -> Iterator[Finding]:
    channels = [*_texts(plain.get(f"{PREFIX}channels")), *_texts(plain.get(f"{PREFIX}default_channels"))]
    named = [channel for channel in channels if _ANACONDA.fullmatch(channel)]
    accepted = given.get(_TERMS)
    if (provider == "miniconda" or named) and str(accepted).lower() in (
        "none",
        "false",
        "no",
        "off",
        "0",
        "",
    ):
        what = f"the channel {named[0]}" if named and provider != "miniconda" else "Miniconda"
        hint = f"read them, and set {_TERMS}: true if you accept them; miniforge with conda-forge needs none"
        # Where the variable is not set, show the place of the variable that requires it.
        variable = _TERMS if _TERMS in given else "python_env_provider"
        yield of_variable(given, variable, f"{what} may be used only under Anaconda's terms", hint)


def _hash(provider: str, given: Mapping[str, Any], plain: Mapping[str, Any]) -> Iterator[Finding]:
    published = installers()[provider]
    version, digest = plain.get(f"{PREFIX}version"), given.get(f"{PREFIX}sha256")
    if version and str(version) not in published["sha256"] and not digest:
        reason = f"is a version of {published['title']} with an unknown sha256"
        hint = f"look it up at {published['releases']} and set {PREFIX}sha256"
        yield of_variable(plain, f"{PREFIX}version", reason, hint)
    if (
        digest
        and not variables.is_deferred(digest)
        and not re.fullmatch(r"(?i)[0-9a-f]{64}", str(digest).strip())
    ):
        yield of_variable(
            given, f"{PREFIX}sha256", "must be the 64 hexadecimal digits of the installer's hash", ""
        )


def _pins(plain: Mapping[str, Any]) -> Iterator[Finding]:
    python = plain.get(f"{PREFIX}python")
    if python and not _EXACT.fullmatch(str(python)):
        yield of_variable(plain, f"{PREFIX}python", "must be an exact version", "such as 3.12.11")
    for package in _texts(plain.get(f"{PREFIX}packages")):
        if not _PINNED.fullmatch(package):
            reason, hint = (
                f"does not pin the version of {package}",
                "write name=version or name=version=build",
            )
            yield of_variable(plain, f"{PREFIX}packages", reason, hint)


def _passwords(given: Mapping[str, Any]) -> Iterator[Finding]:
    for name in (PREFIX + name for name in _ADDRESSES):
        if any(_PASSWORD.search(text) for text in _texts(given.get(name))):
            reason = "contains a user, a password or a token, which every user on the host could read"
            # The value itself is not shown.
            yield Finding(
                name, reason, hint=f"write it into a netrc file and set {PREFIX}netrc_file to that file"
            )


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
