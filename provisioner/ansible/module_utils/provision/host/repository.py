# SPDX-License-Identifier: Apache-2.0
"""Define one package repository of a vendor for apt or dnf: its source, its key by fingerprint, its pins."""

from __future__ import annotations

import hashlib
import re
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from .fault import Fault
from .openpgp import KeyFault, armoured, fingerprints, normal
from .outward import trouble
from .sources import defining

KEY_SECONDS = 30
LARGEST_KEY = 1024 * 1024
APT_SOURCES, APT_KEYS, APT_PINS = "etc/apt/sources.list.d", "usr/share/keyrings", "etc/apt/preferences.d"
DNF_SOURCES, DNF_KEYS = "etc/yum.repos.d", "etc/pki/rpm-gpg"
WRITTEN = "# Written by provision.\n"
DISABLED = "provision-disabled"
LOGIN = re.compile(r"://([^/@]+)@")
NEXT_LOGIN = {
    "apt": "remove it, and put user and password into a file in /etc/apt/auth.conf.d that only root can read",
    "dnf": "remove it, and let the mirror identify the host by its address or a client certificate: dnf has "
    "no other place for a password",
}


@dataclass(frozen=True)
class Repository:
    """Describe one repository; `pins` is the text of an apt preferences file, `signed` what its key signs."""

    name: str
    url: str
    key_url: str
    fingerprints: tuple[str, ...]
    pins: str = ""
    signed: str = "packages"
    key_text: str = ""
    key_word: str = "the fingerprints"
    role: str = ""
    root: Path = Path("/")

    @property
    def is_apt(self) -> bool:
        """Return whether this host takes packages with apt."""
        return shutil.which("apt-get") is not None

    @property
    def source(self) -> Path:
        """Return the file that defines the repository."""
        folder, suffix = (APT_SOURCES, "sources") if self.is_apt else (DNF_SOURCES, "repo")
        return self.root / folder / f"provision-{self.name}.{suffix}"

    @property
    def key(self) -> Path:
        """Return the file that holds its key."""
        return self.root / (APT_KEYS if self.is_apt else DNF_KEYS) / f"provision-{self.name}.asc"

    def files(self) -> dict[Path, str]:
        """Return every file but the key with its text; an empty text means that it must not exist."""
        key = "/" + str(self.key.relative_to(self.root))
        if self.is_apt:
            text = f"Types: deb\nURIs: {self.url}\nSuites: /\nSigned-By: {key}\n"
            pins = self.root / APT_PINS / f"provision-{self.name}"
            return {self.source: WRITTEN + text, pins: self.pins}
        packages, metadata = int(self.signed == "packages"), int(self.signed == "metadata")
        return {
            self.source: f"{WRITTEN}[provision-{self.name}]\nname=provision {self.name}\n"
            f"baseurl={self.url}\nenabled=1\ngpgcheck={packages}\nrepo_gpgcheck={metadata}\n"
            # A host must not keep a repository's old list for two days when a driver is requested now.
            f"gpgkey=file://{key}\nmetadata_expire=3600\n"
        }


def refuse_login(repository: Repository) -> None:
    """Refuse a URL with a password: it would be in a file, or in a log, that everyone may read."""
    for url in (repository.url, repository.key_url):
        if LOGIN.search(url):
            raise Fault(
                f"the URL {LOGIN.sub('://', url)} contains a password, and every user on the host can read "
                f"{repository.source}",
                NEXT_LOGIN["apt" if repository.is_apt else "dnf"],
            )


def key_is_right(repository: Repository) -> bool:
    """Return whether the key on the host is a pinned one."""
    try:
        return not _strange(repository, repository.key.read_bytes())
    except (OSError, KeyFault):
        return False


def key_for(repository: Repository) -> str:
    """Return the repository's key as text once its fingerprint is a pinned one; raises Fault."""
    where = "the key that was given" if repository.key_text else repository.key_url
    content = repository.key_text.encode() if repository.key_text else _fetch(repository)
    try:
        strange = _strange(repository, content)
    except KeyFault as fault:
        raise Fault(
            f"{where} is not an OpenPGP key: {fault}",
            "a proxy or a mirror may answer instead: check that URL from the host",
        ) from fault
    if strange:
        raise Fault(
            f"{where} has the fingerprint {', '.join(strange)}, but the pinned one is "
            f"{', '.join(repository.fingerprints)}: its owner has rotated it, or someone else answers there",
            "check whether its owner has announced a new key, compare its fingerprint with the published "
            f"one, and add it to {repository.key_word}",
        )
    # A file that is pinned as a whole stays as it is; of another, only the compared keys are trusted.
    text = content.decode("ascii", "replace")
    return text if _digest(text) in map(normal, repository.fingerprints) else str(armoured(content))


def _strange(repository: Repository, content: bytes) -> list[str]:
    """Return the fingerprints that are not pinned; a pin of 64 digits is the SHA-256 of the key's file."""
    found = fingerprints(content)
    pinned = {normal(one) for one in repository.fingerprints}
    if _digest(content.decode("ascii", "replace")) in pinned:
        return []
    return [one for one in found if one not in pinned]


def _digest(text: str) -> str:
    """Return the SHA-256 of a key's text without the version of the program that wrote it."""
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith("Version:")]
    return hashlib.sha256("".join(lines).encode()).hexdigest().upper()


def _fetch(repository: Repository) -> bytes:
    try:
        with urllib.request.urlopen(repository.key_url, timeout=KEY_SECONDS) as answer:  # noqa: S310 - the inventory's
            return bytes(answer.read(LARGEST_KEY))
    except (OSError, ValueError, HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        code = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else str(error)
        known = trouble(code)
        raise Fault(
            f"the key of the repository cannot be fetched from {repository.key_url}: {code}",
            f"{known.says}: {known.step}" if known else "allow access to it, or use a mirror",
        ) from error


def rivals(repository: Repository) -> list[Path]:
    """Return other source files of the same repository, which would contradict ours."""
    named = re.compile(rf"{re.escape(repository.url.rstrip('/'))}/?(?=[\s\"']|$)")
    return [path for path in defining(named, repository.root) if path != repository.source]


def out_of_sight(name: str, path: Path) -> Path:
    """Return the name under which no package manager reads a source file that contradicts a repository."""
    return path.with_name(f"{path.name}.{DISABLED}-{name}")


def disabled(repository: Repository) -> dict[Path, Path]:
    """Return the source files that were disabled for this repository, with their own names."""
    ending = f".{DISABLED}-{repository.name}"
    found = repository.source.parent.glob(f"*{ending}")
    return {path: path.with_name(path.name[: -len(ending)]) for path in found}
